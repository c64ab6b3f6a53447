//! What a policy lists, as a refusal says it: so that who launched the guest sees what was due.

use std::fmt;

/// So many are named; of more, how many there are.
const NAMED: usize = 3;

/// The values of a list that does not have the one that was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    count: usize,
    named: Vec<String>,
}

impl Listed {
    /// All of `list`, few of them by name.
    pub fn of<T: fmt::Display>(list: &[T]) -> Self {
        Self { count: list.len(), named: list.iter().take(NAMED).map(ToString::to_string).collect() }
    }
}

/// `none of the 2 that the policy lists: …, …`
impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, named } = self;
        if named.is_empty() {
            return f.write_str("not allowed: the policy lists none");
        }
        write!(f, "none of the {count} that the policy lists: {}", named.join(", "))?;
        match count.saturating_sub(named.len()) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_named_and_all_are_counted() {
        let said = |list: &[u8]| Listed::of(list).to_string();
        assert_eq!(said(&[]), "not allowed: the policy lists none");
        assert_eq!(said(&[7]), "none of the 1 that the policy lists: 7");
        assert_eq!(said(&[7, 8, 9]), "none of the 3 that the policy lists: 7, 8, 9");
        assert_eq!(said(&[7, 8, 9, 1, 2]), "none of the 5 that the policy lists: 7, 8, 9 and 2 more");
    }
}
