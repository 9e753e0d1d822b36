//! One table of cases through every door, and from door to door across workers.

mod across;
mod cases;
