//! Canonical JSON (RFC 8785): what transcripts and the audit log hash.

use serde::Serialize;
use serde_json::{Error, Value};

/// Beyond it a number may not be its own double any more, and is printed as one.
const EXACT: u64 = (1 << 53) - 1;

/// The canonical form of `value`, UTF-8.
///
/// # Errors
/// When it has no JSON form, such as a map whose keys are no text.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let value = serde_json::to_value(value)?;
    let mut out = Vec::with_capacity(1024);
    if write(&value, &mut out)? {
        return Ok(out);
    }
    serde_json_canonicalizer::to_vec(&value)
}

/// A member of an object that needs no [`Value`] made of it first.
#[derive(Clone, Copy, Debug)]
pub enum Member<'a> {
    /// A string.
    Text(&'a str),
    /// A whole number.
    Whole(u64),
    /// Anything that was read already.
    Json(&'a Value),
}

impl Member<'_> {
    fn value(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Whole(number) => number.into(),
            Self::Json(value) => value.clone(),
        }
    }

    fn write(self, out: &mut Vec<u8>) -> Result<bool, Error> {
        match self {
            Self::Text(text) => serde_json::to_writer(out, text)?,
            Self::Whole(number) if number > EXACT => return Ok(false),
            Self::Whole(number) => serde_json::to_writer(out, &number)?,
            Self::Json(value) => return write(value, out),
        }
        Ok(true)
    }
}

/// The canonical form of the object that has these members, no name twice, UTF-8: that of [`to_vec`], in a fraction of the time.
///
/// # Errors
/// When it has no JSON form.
pub fn object<const N: usize>(mut members: [(&'static str, Member<'_>); N]) -> Result<Vec<u8>, Error> {
    members.sort_unstable_by_key(|(name, _)| *name);
    debug_assert!(members.is_sorted_by(|(one, _), (next, _)| one < next), "a name twice");
    let mut out = Vec::with_capacity(1024);
    let mut between = b'{';
    for (name, member) in members {
        out.push(between);
        serde_json::to_writer(&mut out, name)?;
        out.push(b':');
        if !name.is_ascii() || !member.write(&mut out)? {
            return to_vec(
                &members
                    .map(|(name, member)| (name.to_owned(), member.value()))
                    .into_iter()
                    .collect::<Value>(),
            );
        }
        between = b',';
    }
    if N == 0 {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(out)
}

/// Writes what all of ours is made of: names in ASCII, whose order is that of their bytes, and whole numbers. `false` where there is
/// more to it, which the library knows; it takes several times as long.
fn write(value: &Value, out: &mut Vec<u8>) -> Result<bool, Error> {
    match value {
        Value::Number(number) => {
            let whole = number.as_u64().or(number.as_i64().map(i64::unsigned_abs));
            if whole.is_none_or(|n| n > EXACT) {
                return Ok(false);
            }
            serde_json::to_writer(out, number)?;
        }
        Value::Array(list) => {
            out.push(b'[');
            for (n, value) in list.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                if !write(value, out)? {
                    return Ok(false);
                }
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // Sorted already, unless some other crate asked serde_json to keep them in their order.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (n, (name, value)) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, name)?;
                out.push(b':');
                if !name.is_ascii() || !write(value, out)? {
                    return Ok(false);
                }
            }
            out.push(b'}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => serde_json::to_writer(out, value)?,
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[ -~]{0,8}", ".{0,8}", "[\\x00-\\x1f\\x7f\"\\\\/]{0,4}"]
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            proptest::bool::ANY.prop_map(Value::from),
            proptest::num::i64::ANY.prop_map(Value::from),
            proptest::num::u64::ANY.prop_map(Value::from),
            (0..1000u64).prop_map(Value::from),
            proptest::num::f64::ANY.prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(text(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_the_library_writes(value in values()) {
            let (ours, theirs) = (to_vec(&value), serde_json_canonicalizer::to_vec(&value));
            prop_assert_eq!(ours.unwrap(), theirs.unwrap());
        }
    }

    proptest! {
        #[test]
        fn an_object_by_its_members_is_that_object(
            text in text(),
            number in prop_oneof![4 => 0..=EXACT, 1 => proptest::num::u64::ANY],
            value in prop_oneof![
                2 => text().prop_map(|text| json!({"b": [1, text], "a": null})),
                1 => values(),
            ],
        ) {
            let members = [
                ("text", Member::Text(&text)),
                ("a-number", Member::Whole(number)),
                ("detail", Member::Json(&value)),
            ];
            let whole = json!({"text": text, "a-number": number, "detail": value});
            prop_assert_eq!(object(members).unwrap(), serde_json_canonicalizer::to_vec(&whole).unwrap());
        }
    }

    #[test]
    fn an_object_without_members_is_one() {
        assert_eq!(object([]).unwrap(), b"{}");
    }

    #[test]
    fn beyond_exact_numbers_an_object_is_the_librarys() {
        for number in [EXACT, EXACT + 1, EXACT + 2, u64::MAX] {
            let whole = serde_json_canonicalizer::to_vec(&json!({"n": number})).unwrap();
            assert_eq!(object([("n", Member::Whole(number))]).unwrap(), whole);
        }
    }

    #[test]
    fn what_the_library_must_write_is_left_to_it() {
        let easy = |value: Value| write(&value, &mut Vec::new()).unwrap();
        assert!(easy(json!({"b": [1, -1, EXACT, -9_007_199_254_740_991_i64], "a": "é\u{1f}"})));
        for value in [json!(EXACT + 1), json!(-9_007_199_254_740_992_i64), json!(1.5), json!({"é": 1})] {
            assert!(!easy(json!([value.clone()])), "{value}");
            assert_eq!(to_vec(&value).unwrap(), serde_json_canonicalizer::to_vec(&value).unwrap());
        }
    }
}
