//! Clients: each asks one thing at a time, of any worker, and writes down what it was answered.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use firn_wire::ids::TableId;
use firn_wire::map::MapIndex;
use firn_wire::reply::{Failure, Reply};

use crate::event::{Event, Impulse, Run, Slot};
use crate::history::{History, is_counter};
use crate::network::Place;
use crate::question::{Action, Answer, Ask, Outcome, Question};
use crate::scene::Scene;

/// The table whose writes wait for all copies.
pub const ALL: TableId = TableId::DEFAULT;
/// The table whose writes are answered when the primary has applied them.
pub const PRIMARY: TableId = TableId(1);

/// What a client knows of the workers: the map of each that answers, and which run has it.
pub type Views<'w> = &'w dyn Fn(Slot) -> Option<(Run, Arc<MapIndex>)>;

/// What clients ask for, and how often.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Clients.
    pub clients: u32,
    /// Between an answer and the next question, at most, in microseconds.
    pub think_us: u64,
    /// Keys that are registers, and as many counters.
    pub keys: u64,
    /// How long a client waits for an answer, in milliseconds.
    pub patience_ms: u64,
    /// How often in a thousand a write has an idempotency key.
    pub once_permille: u64,
    /// How often in a thousand a value is given an end.
    pub ttl_permille: u64,
    /// How often in a thousand the table that does not wait is asked.
    pub primary_permille: u64,
}

/// An operation that is not answered.
struct Doing {
    operation: u64,
    question: Rc<Question>,
    /// When it was asked, in events of the trace.
    call: u64,
    attempt: u32,
    /// Whether some try of it may have been applied.
    may_be_applied: bool,
    /// Whether the last try may still be answered.
    is_asked: bool,
}

impl Doing {
    /// Whether doing it twice is the same as once.
    fn is_repeatable(&self) -> bool {
        self.question.once.is_some() || !self.question.action.is_write()
    }
}

/// See the module's page.
pub struct Clients {
    habits: Habits,
    doing: Vec<Option<Doing>>,
    /// What they saw of the table that waits for all copies.
    pub history: History,
    /// Values that anybody wrote, or tried to, to the table that does not.
    written: BTreeSet<Vec<u8>>,
    /// What was answered and cannot be.
    pub odd: Vec<String>,
    are_quiet: bool,
}

impl Clients {
    /// Clients that have asked nothing.
    pub fn new(habits: Habits) -> Self {
        let doing = (0..habits.clients).map(|_| None).collect();
        Self {
            habits,
            doing,
            history: History::default(),
            written: BTreeSet::new(),
            odd: Vec::new(),
            are_quiet: false,
        }
    }

    /// They begin.
    pub fn begin(&self, scene: &mut Scene) {
        for client in 0..self.habits.clients {
            let at = scene.now.plus_us(scene.random.below(10_000));
            scene.queue.put(at, Event::Client(client, Impulse::Think));
        }
    }

    /// They think of nothing more to ask.
    pub fn be_quiet(&mut self) {
        self.are_quiet = true;
    }

    /// A client does something.
    pub fn act(&mut self, scene: &mut Scene, views: Views<'_>, client: u32, impulse: Impulse) {
        match impulse {
            Impulse::Think if !self.are_quiet => self.think(scene, views, client),
            Impulse::Think => {}
            Impulse::Retry(operation, attempt) => {
                let doing = self.doing[client as usize].as_ref();
                let is_it = |d: &&Doing| (d.operation, d.attempt) == (operation, attempt);
                if doing.filter(is_it).is_some_and(|d| !d.is_asked || d.is_repeatable()) {
                    self.attempt(scene, views, client);
                }
            }
            Impulse::Despair(operation) => {
                let doing = self.doing[client as usize].take_if(|d| d.operation == operation);
                if let Some(doing) = doing {
                    self.end(scene, client, doing);
                }
            }
        }
    }

    fn think(&mut self, scene: &mut Scene, views: Views<'_>, client: u32) {
        let slots = scene.machines.len();
        let Some((_, map)) = (0..slots).find_map(views) else {
            return self.think_later(scene, client);
        };
        let operation = scene.number();
        let question = Rc::new(self.question(scene, &map, operation));
        if question.table == PRIMARY {
            self.note_values(&question.action);
        }
        let call = scene.trace.events();
        scene.trace.note(scene.now, &[1, operation, u64::from(client)], || {
            format!("client {client} asks {operation}: {}", shown(&question))
        });
        let doing =
            Doing { operation, question, call, attempt: 0, may_be_applied: false, is_asked: false };
        self.doing[client as usize] = Some(doing);
        let despair = scene.now.plus_ms(self.habits.patience_ms);
        scene.queue.put(despair, Event::Client(client, Impulse::Despair(operation)));
        self.attempt(scene, views, client);
    }

    fn think_later(&self, scene: &mut Scene, client: u32) {
        let at = scene.now.plus_us(scene.random.between(1, self.habits.think_us));
        scene.queue.put(at, Event::Client(client, Impulse::Think));
    }

    fn question(&self, scene: &mut Scene, map: &MapIndex, operation: u64) -> Question {
        let table = if scene.random.permille(self.habits.primary_permille) { PRIMARY } else { ALL };
        let number = scene.random.below(self.habits.keys);
        let is_counter = scene.random.permille(300);
        let key = format!("{}{number}", if is_counter { 'c' } else { 'r' }).into_bytes();
        let partition = map.locate(table, &key).expect("the first tables are in every map");
        let action = match is_counter {
            true => counter_action(scene),
            false if self.history.is_open_enough(table, &key) => Action::Get,
            false => self.action(scene, operation),
        };
        let is_once = action.is_write() && scene.random.permille(self.habits.once_permille);
        let once = is_once.then(|| format!("once {operation}").into_bytes());
        Question { table, key, partition, once, action }
    }

    fn action(&self, scene: &mut Scene, operation: u64) -> Action {
        let new = operation.to_string().into_bytes();
        match scene.random.below(100) {
            0..30 => Action::Get,
            30..34 => Action::GetRange,
            34..38 => Action::GetExpire,
            38..66 => {
                let has_end = scene.random.permille(self.habits.ttl_permille);
                let ttl_ms = has_end.then(|| scene.random.between(1, 3_000));
                Action::Set { new, ttl_ms }
            }
            66..74 => Action::SetAbsent { new },
            74..82 => {
                let earlier = operation.saturating_sub(scene.random.below(200));
                Action::SetEqual { expect: earlier.to_string().into_bytes(), new }
            }
            82..90 => Action::Swap { new },
            _ => Action::Delete,
        }
    }

    fn note_values(&mut self, action: &Action) {
        match action {
            Action::Set { new, .. }
            | Action::SetAbsent { new }
            | Action::SetEqual { new, .. }
            | Action::Swap { new } => {
                self.written.insert(new.clone());
            }
            _ => {}
        }
    }

    /// Sends the client's question on through some worker, to whom that worker's map says.
    fn attempt(&mut self, scene: &mut Scene, views: Views<'_>, client: u32) {
        let Some(doing) = self.doing[client as usize].as_mut() else { return };
        doing.attempt += 1;
        doing.is_asked = false;
        let through = scene.random.below(scene.machines.len() as u64) as Slot;
        let again = Event::Client(client, Impulse::Retry(doing.operation, doing.attempt));
        let soon = scene.now.plus_us(scene.random.between(2_000, 20_000));
        let Some((run, map)) = views(through) else { return scene.queue.put(soon, again) };
        let row = map.partition(doing.question.partition);
        let Some(primary) = row.and_then(|row| row.primary.clone()) else {
            return scene.queue.put(soon, again);
        };
        let to = (crate::scene::slot_of(&primary.name), primary.incarnation.0);
        doing.is_asked = true;
        doing.may_be_applied |= doing.question.action.is_write();
        let ask = Ask {
            operation: doing.operation,
            attempt: doing.attempt,
            through,
            to,
            alone: to == (through, run) || scene.random.permille(500),
            question: Rc::clone(&doing.question),
        };
        // Who hears nothing asks again, if that is the same as asking once.
        let later = scene.now.plus_ms(self.habits.patience_ms / 4);
        scene.queue.put(later, again);
        if scene.network.is_open(Place::Machine(through), Place::Machine(to.0)) {
            let delay = if to.0 == through { 20 } else { scene.network.delay_us() };
            let arrival = scene.now.plus_us(delay);
            scene.queue.put(arrival, Event::Ask(ask));
        }
    }

    /// An answer has come.
    pub fn answered(&mut self, scene: &mut Scene, views: Views<'_>, answer: &Answer) {
        let is_it = |d: &Doing| d.operation == answer.operation;
        let find = |doing: &Option<Doing>| doing.as_ref().is_some_and(is_it);
        let Some(client) = self.doing.iter().position(find) else { return };
        let Some(doing) = self.doing[client].as_mut() else { return };
        let is_last = doing.attempt == answer.attempt;
        let client = client as u32;
        match &answer.outcome {
            Outcome::Replied(reply) => self.replied(scene, client, &reply.view()),
            Outcome::NotHere if is_last => {
                doing.is_asked = false;
                // A try before this one may have been applied.
                doing.may_be_applied &= doing.attempt > 1 && doing.question.once.is_some();
                let again = Impulse::Retry(doing.operation, doing.attempt);
                let soon = scene.now.plus_us(scene.random.between(1_000, 20_000));
                scene.queue.put(soon, Event::Client(client, again));
            }
            Outcome::Lost if doing.is_repeatable() && is_last => {
                self.attempt(scene, views, client);
            }
            Outcome::Lost if !doing.is_repeatable() => {
                if let Some(doing) = self.doing[client as usize].take() {
                    self.end(scene, client, doing);
                }
            }
            Outcome::NotHere | Outcome::Lost => {}
        }
    }

    fn replied(&mut self, scene: &mut Scene, client: u32, reply: &Reply<'_>) {
        let Some(doing) = self.doing[client as usize].take() else { return };
        if let Reply::Failed(failure) = reply {
            if !is_passing(failure) {
                self.odd.push(format!("{} was answered {failure:?}", shown(&doing.question)));
            }
            return self.end(
                scene,
                client,
                Doing { may_be_applied: doing.attempt > 1 && doing.may_be_applied, ..doing },
            );
        }
        scene.tally.answered += 1;
        scene.trace.note(scene.now, &[2, doing.operation], || {
            format!("client {client} is answered {}: {reply:?}", doing.operation)
        });
        let times = (doing.call, scene.trace.events());
        if doing.question.table == ALL {
            if let Err(odd) = self.history.answered(&doing.question, times, reply) {
                self.odd.push(odd.0);
            }
        } else if let Some(invented) = self.invented(&doing.question, reply) {
            self.odd.push(invented);
        }
        self.think_later(scene, client);
    }

    /// A value nobody wrote.
    fn invented(&self, question: &Question, reply: &Reply<'_>) -> Option<String> {
        let shown = match reply {
            Reply::Value(value) if value.version.is_some() => value.bytes,
            Reply::Written { old: Some(old), .. } => old,
            _ => return None,
        };
        let is_known = is_counter(&question.key) || self.written.contains(shown);
        (!is_known).then(|| format!("{:?} has {shown:?}, which nobody wrote", question.key))
    }

    /// An operation that was not answered is over.
    fn end(&mut self, scene: &mut Scene, client: u32, doing: Doing) {
        let is_unknown = doing.may_be_applied;
        scene.trace.note(scene.now, &[3, doing.operation, u64::from(is_unknown)], || {
            format!(
                "client {client} gives {} up{}",
                doing.operation,
                if is_unknown { ": it may have been done" } else { "" }
            )
        });
        if is_unknown {
            scene.tally.unknown += 1;
            if doing.question.table == ALL {
                self.history.unknown(&doing.question, doing.call);
            }
        } else {
            scene.tally.not_done += 1;
        }
        self.think_later(scene, client);
    }
}

fn counter_action(scene: &mut Scene) -> Action {
    match scene.random.below(10) {
        0..6 => Action::Increment,
        6..9 => Action::Get,
        _ => Action::GetRange,
    }
}

/// Whether a failure says that nothing was applied, for reasons that pass.
fn is_passing(failure: &Failure<'_>) -> bool {
    matches!(
        failure,
        Failure::TooFewCopies { .. }
            | Failure::LogFull(_)
            | Failure::TooMuch(_)
            | Failure::DiskFailed(_)
    )
}

/// A question for a reader of the trace.
fn shown(question: &Question) -> String {
    let key = String::from_utf8_lossy(&question.key);
    let action = match &question.action {
        Action::Set { new, ttl_ms } => {
            format!("Set {} for {ttl_ms:?} ms", String::from_utf8_lossy(new))
        }
        Action::SetAbsent { new } => format!("SetAbsent {}", String::from_utf8_lossy(new)),
        Action::SetEqual { expect, new } => {
            let texts = [expect, new].map(|text| String::from_utf8_lossy(text).into_owned());
            format!("SetEqual {} {}", texts[0], texts[1])
        }
        Action::Swap { new } => format!("Swap {}", String::from_utf8_lossy(new)),
        other => format!("{other:?}"),
    };
    let once = if question.once.is_some() { " once" } else { "" };
    format!("{action} {key} of table {} in {}{once}", question.table.0, question.partition)
}
