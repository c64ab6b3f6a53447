//! JSON of foreign peers as a value, on a budget: few bytes of text must not become many of memory.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// What an array or an object takes of the budget; anything else takes 1. An object of one member holds 90 times its text.
const CONTAINER: u32 = 16;

/// Any JSON, as far as `budget` goes.
pub(crate) fn value<'de, D: Deserializer<'de>>(deserializer: D, budget: u32) -> Result<Value, D::Error> {
    Build(&Cell::new(budget)).deserialize(deserializer)
}

#[derive(Clone, Copy)]
struct Build<'a>(&'a Cell<u32>);

impl Build<'_> {
    fn take<E: Error>(self, cost: u32) -> Result<(), E> {
        match self.0.get().checked_sub(cost) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(E::custom("more arrays, objects and values than any evidence has")),
        }
    }

    fn leaf<E: Error>(self, value: Value) -> Result<Value, E> {
        self.take(1).map(|()| value)
    }
}

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        self.leaf(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        self.leaf(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.leaf(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.leaf(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        self.leaf(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        self.leaf(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        self.leaf(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.take(CONTAINER)?;
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        self.take(CONTAINER)?;
        let mut out = Map::new();
        while let Some(name) = members.next_key()? {
            out.insert(name, members.next_value_seed(self)?);
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, budget: u32) -> Result<Value, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = value(&mut json, budget)?;
        json.end().map(|()| read)
    }

    #[test]
    fn reads_all_json_alike() {
        let text = r#"{"a":[null,true,-1,18446744073709551615,0.5,"x",[],{}],"b":{"c":"d"},"b":1}"#;
        assert_eq!(read(text, 1000).unwrap(), serde_json::from_str::<Value>(text).unwrap());
        for bad in ["", "{", "[1,]", "1 2"] {
            assert!(read(bad, 1000).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_value_has_its_cost() {
        for (text, cost) in [("1", 1), ("[]", 16), ("[1,\"a\"]", 18), ("{\"a\":null}", 17), ("[[{}]]", 48)] {
            assert!(read(text, cost).is_ok(), "{text}");
            assert!(read(text, cost - 1).is_err(), "{text}");
        }
    }
}
