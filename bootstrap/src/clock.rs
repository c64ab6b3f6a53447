//! The clock: set once, from the attested reply.

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};

/// Differences up to this many seconds are left alone.
const SLACK: u64 = 1;

/// Sets the clock to `seconds` since 1970 where it is off; gives back by how much it was, positive when it was behind.
pub fn set(seconds: u64) -> nix::Result<Option<i64>> {
    let have = clock_gettime(ClockId::CLOCK_REALTIME)?.tv_sec();
    let want = i64::try_from(seconds).map_err(|_| nix::Error::EINVAL)?;
    let off = want.saturating_sub(have);
    if off.unsigned_abs() <= SLACK {
        return Ok(None);
    }
    clock_settime(ClockId::CLOCK_REALTIME, TimeSpec::new(want, 0))?;
    Ok(Some(off))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_clock_is_left_alone() {
        let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap().tv_sec();
        assert_eq!(set(u64::try_from(now).unwrap()), Ok(None));
        assert_eq!(set(u64::MAX), Err(nix::Error::EINVAL));
    }
}
