//! JSON as it stands in a header: order and repeated keys kept, so that nothing hides behind a parser's choice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

/// Nesting beyond this many levels is refused; a header of ours has four.
const MAX_DEPTH: usize = 32;

/// A JSON value; objects keep every member in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Parses one JSON value with nothing after it but whitespace.
    pub(crate) fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut de = serde_json::Deserializer::from_str(text);
        let value = Seed(MAX_DEPTH).deserialize(&mut de)?;
        de.end()?;
        Ok(value)
    }

    /// The member `key`; of repeated ones the last, as cryptsetup takes it.
    pub(crate) fn get(&self, key: &str) -> Option<&Json> {
        self.members().iter().rev().find(|(k, _)| k == key).map(|(_, v)| v)
    }

    /// The member that `path` leads to, by keys; none where one stands twice.
    pub(crate) fn at_mut(&mut self, path: &[&str]) -> Option<&mut Json> {
        let Some((key, rest)) = path.split_first() else { return Some(self) };
        let Json::Object(members) = self else { return None };
        let mut found = members.iter_mut().filter(|(k, _)| k == key);
        match (found.next(), found.next()) {
            (Some((_, value)), None) => value.at_mut(rest),
            _ => None,
        }
    }

    /// Members of an object; none for anything else.
    pub(crate) fn members(&self) -> &[(String, Json)] {
        match self {
            Json::Object(members) => members,
            _ => &[],
        }
    }

    pub(crate) fn is_object(&self) -> bool {
        matches!(self, Json::Object(_))
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Json::Int(n) => Some(*n),
            _ => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&[Json]> {
        match self {
            Json::Array(items) => Some(items),
            _ => None,
        }
    }

    /// An array of strings.
    pub(crate) fn as_names(&self) -> Option<Vec<&str>> {
        self.as_array()?.iter().map(Json::as_str).collect()
    }

    /// The path (from `at`) of the first member whose key stands twice in its object.
    pub(crate) fn repeated_key(&self, at: &str) -> Option<String> {
        match self {
            Json::Array(items) => {
                items.iter().enumerate().find_map(|(i, item)| item.repeated_key(&format!("{at}/{i}")))
            }
            Json::Object(members) => {
                let mut seen = std::collections::BTreeSet::new();
                members.iter().find_map(|(key, value)| {
                    let path = format!("{at}/{key}");
                    if seen.insert(key) { value.repeated_key(&path) } else { Some(path) }
                })
            }
            _ => None,
        }
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Null => serializer.serialize_unit(),
            Json::Bool(b) => serializer.serialize_bool(*b),
            Json::Int(n) => match u64::try_from(*n) {
                Ok(n) => serializer.serialize_u64(n),
                Err(_) => serializer.serialize_i64(i64::try_from(*n).unwrap_or(i64::MIN)),
            },
            Json::Float(n) => serializer.serialize_f64(*n),
            Json::Text(text) => serializer.serialize_str(text),
            Json::Array(items) => serializer.collect_seq(items),
            Json::Object(members) => serializer.collect_map(members.iter().map(|(k, v)| (k, v))),
        }
    }
}

impl fmt::Display for Json {
    /// Compact JSON text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Carries the levels of nesting that are still allowed.
#[derive(Clone, Copy)]
struct Seed(usize);

impl<'de> DeserializeSeed<'de> for Seed {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Seed {
    fn deeper<E: serde::de::Error>(self) -> Result<Seed, E> {
        self.0.checked_sub(1).map(Seed).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> Visitor<'de> for Seed {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, b: bool) -> Result<Json, E> {
        Ok(Json::Bool(b))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Json, E> {
        Ok(Json::Int(n.into()))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Json, E> {
        Ok(Json::Int(n.into()))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Json, E> {
        Ok(Json::Float(n))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let inner = self.deeper()?;
        let mut members = Vec::new();
        while let Some(key) = map.next_key()? {
            members.push((key, map.next_value_seed(inner)?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_key_is_seen_at_any_depth_and_the_last_wins() {
        let json = Json::parse(r#"{"a":[{"b":1,"c":2,"b":3}]}"#).unwrap();
        assert_eq!(json.repeated_key(""), Some("/a/0/b".into()));
        let inner = &json.get("a").unwrap().as_array().unwrap()[0];
        assert_eq!(inner.get("b").unwrap().as_int(), Some(3));
        assert_eq!(Json::parse(r#"{"a":1,"b":{"a":1}}"#).unwrap().repeated_key(""), None);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(&nested(MAX_DEPTH)).is_ok());
        assert!(Json::parse(&nested(MAX_DEPTH + 1)).is_err());
        assert!(Json::parse(&nested(100_000)).is_err());
    }

    #[test]
    fn text_form_is_the_input_without_whitespace() {
        let text = r#"{"a":[1,-2,null,true],"b":{"c":"d"}}"#;
        assert_eq!(Json::parse(text).unwrap().to_string(), text);
    }
}
