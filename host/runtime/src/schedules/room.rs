//! How many schedules there may be, and how much of that may be one caller's.
//!
//! What must stay true: all of them together are bounded, since all are read whenever
//! one comes due, and no caller's schedules keep others from having theirs.

use super::types::{Row, ScheduleRequest};
use super::{SPACE, ScheduleError};
use crate::principal::{Principal, Role};
use crate::rows::{decode, encode};
use crate::runtime::Runtime;

/// Most schedules of a host.
pub(super) const COUNT_MAX: usize = 1_000;
/// Most bytes of all of them together.
const BYTES_MAX: usize = 16 << 20;
/// One caller's are at most this part of either; an administrator's may be all.
const SHARE: usize = 2;

/// What schedules take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    count: usize,
    bytes: usize,
}

impl Taken {
    fn and(self, bytes: usize) -> Self {
        let count = self.count + 1;
        let bytes = self.bytes + bytes;
        Self { count, bytes }
    }

    /// Whether it is within this part of what there may be.
    fn check(self, part: usize) -> Result<(), ScheduleError> {
        let (count, bytes) = (COUNT_MAX / part, BYTES_MAX / part);
        let all = part == 1;
        match (self.count > count, self.bytes > bytes) {
            (true, _) if all => Err(ScheduleError::Full(count)),
            (_, true) if all => Err(ScheduleError::TooLong(bytes)),
            (true, _) => Err(ScheduleError::ShareFull(count)),
            (_, true) => Err(ScheduleError::ShareTooLong(bytes)),
            (false, false) => Ok(()),
        }
    }
}

impl Runtime {
    /// Whether there is room for a schedule. The one that it replaces counts no more.
    pub(super) fn check_room(
        &self,
        who: &Principal,
        request: &ScheduleRequest,
    ) -> Result<(), ScheduleError> {
        let new = Taken { count: 0, bytes: 0 }.and(encode(request).len());
        let (mut all, mut own) = (new, new);
        for key in self.store().keys(SPACE, b"", None, COUNT_MAX)? {
            if key == request.name.as_bytes() {
                continue;
            }
            let Some(value) = self.store().get(SPACE, &key)? else {
                continue;
            };
            all = all.and(value.len());
            let row: Row = decode(SPACE, &key, &value)?;
            if row.maker.by == who.name {
                own = own.and(value.len());
            }
        }
        if !who.has_one_of(&[Role::Admin]) {
            own.check(SHARE)?;
        }
        all.check(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_takes_half_and_all_take_all() {
        let told = |count, bytes, part| match (Taken { count, bytes }.check(part)) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        for (count, bytes, part, expect) in [
            (1_000, BYTES_MAX, 1, ""),
            (1_001, 0, 1, "there are 1000 schedules already"),
            (
                0,
                BYTES_MAX + 1,
                1,
                "all schedules together have at most 16777216 bytes",
            ),
            (500, BYTES_MAX / 2, 2, ""),
            (501, 0, 2, "500 schedules are yours already"),
            (
                0,
                BYTES_MAX / 2 + 1,
                2,
                "your schedules together have at most 8388608 bytes",
            ),
        ] {
            let told = told(count, bytes, part);
            let fits = expect.is_empty() == told.is_empty() && told.starts_with(expect);
            assert!(fits, "{count} {bytes} {part}: {told}");
        }
    }
}
