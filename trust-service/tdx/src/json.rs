//! The small values of Intel's JSON: hexadecimal arrays, dates, statuses.

use crate::TcbStatus;
use ccnode_evidence::UnixTime;
use serde::{Deserialize, Deserializer, de::Error as _};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `N` bytes as hexadecimal of either case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hex<const N: usize>(pub(crate) [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let mut out = [0; N];
        hex::decode_to_slice(text.as_ref(), &mut out)
            .map_err(|_| D::Error::custom(format!("not {N} bytes in hexadecimal")))?;
        Ok(Self(out))
    }
}

/// A point in time: RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Date(pub(crate) UnixTime);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        let time = OffsetDateTime::parse(&text, &Rfc3339).ok();
        let seconds = time.and_then(|t| u64::try_from(t.unix_timestamp()).ok());
        seconds
            .map(|s| Self(UnixTime(s)))
            .ok_or_else(|| D::Error::custom("not a time since 1970 in RFC 3339"))
    }
}

/// A status as Intel writes it; one that is not known here is an error, never taken for another.
pub(crate) fn status<'de, D: Deserializer<'de>>(d: D) -> Result<TcbStatus, D::Error> {
    Ok(match <std::borrow::Cow<'de, str>>::deserialize(d)?.as_ref() {
        "UpToDate" => TcbStatus::UpToDate,
        "SWHardeningNeeded" => TcbStatus::SwHardeningNeeded,
        "ConfigurationNeeded" => TcbStatus::ConfigurationNeeded,
        "ConfigurationAndSWHardeningNeeded" => TcbStatus::ConfigurationAndSwHardeningNeeded,
        "OutOfDate" => TcbStatus::OutOfDate,
        "OutOfDateConfigurationNeeded" => TcbStatus::OutOfDateConfigurationNeeded,
        "Revoked" => TcbStatus::Revoked,
        _ => return Err(D::Error::custom("a TCB status that is not known here")),
    })
}
