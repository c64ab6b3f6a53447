//! The reasons against a header, collected by whoever judges it.

use std::fmt;

use crate::copies::{Copies, Header};
use crate::escape::escape;
use crate::json::Json;
use crate::refusal::{Refusal, Rule};

/// Reasons in the order in which they were found, gravest first.
#[derive(Default)]
pub(crate) struct Reasons(pub(crate) Vec<Refusal>);

impl Reasons {
    pub(crate) fn push(&mut self, reason: Refusal) {
        self.0.push(reason);
    }

    pub(crate) fn forbid(&mut self, rule: Rule, path: &str, value: &dyn fmt::Display) {
        let value = escape(&value.to_string());
        self.push(Refusal::Forbidden { rule, path: path.to_owned(), value });
    }

    /// Refuses members of `object` that are not among `known`.
    pub(crate) fn only(&mut self, object: &Json, path: &str, known: &[&str]) {
        for (key, value) in object.members().iter().filter(|(key, _)| !known.contains(&key.as_str())) {
            self.forbid(Rule::UnknownField, &format!("{path}/{}", escape(key)), value);
        }
    }

    /// Refuses a member that is missing or other than `want`, compared in its JSON form.
    pub(crate) fn require(&mut self, object: &Json, path: &str, key: &str, want: &Json, rule: Rule) {
        let path = format!("{path}/{key}");
        match object.get(key) {
            Some(value) if value == want => {}
            Some(value) => self.forbid(rule, &path, value),
            None => self.push(Refusal::Missing(path)),
        }
    }

    pub(crate) fn copies(&mut self, header: &Header) {
        match &header.copies {
            Copies::Agree => {}
            Copies::Differ(field) => self.push(Refusal::CopiesDiffer(field)),
            Copies::Damaged(role, error) => {
                self.push(Refusal::CopyDamaged { role: *role, error: error.clone() });
            }
        }
        if let Some(role) = header.stray {
            self.push(Refusal::NotCanonical(role));
        }
    }

    /// The one member of a section, which must be numbered 0.
    pub(crate) fn single<'j>(
        &mut self,
        section: Option<&'j Json>,
        path: &str,
        rule: Rule,
    ) -> Option<&'j Json> {
        let section = section?;
        match section.members() {
            [(key, value)] if key == "0" => return Some(value),
            [] => self.push(Refusal::Missing(format!("{path}/0"))),
            _ => self.forbid(rule, path, section),
        }
        None
    }
}
