//! A list that mostly has one element.

/// None, one without an allocation, or more.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Few<T> {
    #[default]
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(crate) fn push(&mut self, element: T) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(element),
            Self::One(first) => Self::Many(vec![first, element]),
            Self::Many(mut all) => {
                all.push(element);
                Self::Many(all)
            }
        };
    }

    pub(crate) fn as_slice(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(all) => all,
        }
    }

    pub(crate) fn drain(self, mut each: impl FnMut(T)) {
        match self {
            Self::None => {}
            Self::One(one) => each(one),
            Self::Many(all) => all.into_iter().for_each(each),
        }
    }
}
