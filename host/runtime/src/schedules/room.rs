//! How many schedules there may be, and how much of that may be one caller's.
//!
//! What must stay true: all of them together are bounded, since all are read whenever
//! one comes due, and no one caller's schedules keep others from having theirs.

use std::sync::Arc;

use serde::Deserialize;

use super::types::{Row, ScheduleRequest};
use super::{SPACE, ScheduleError};
use crate::principal::{Principal, Role};
use crate::rows::encode;
use crate::runs::RunError;
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

/// Of a row, whose it is: its input is passed over.
#[derive(Deserialize)]
struct Whose {
    maker: By,
}

#[derive(Deserialize)]
struct By {
    by: String,
}

/// What a schedule is to take, and in whose name.
struct Wanted {
    name: String,
    by: String,
    has_all: bool,
    bytes: usize,
}

impl Wanted {
    /// Whether there is room beside what is there. The one that it replaces counts no
    /// more; one that can't be read is somebody's.
    fn check(&self, runtime: &Runtime) -> Result<(), ScheduleError> {
        let new = Taken { count: 0, bytes: 0 }.and(self.bytes);
        let (mut all, mut own) = (new, new);
        for key in runtime.store().keys(SPACE, b"", None, COUNT_MAX)? {
            if key == self.name.as_bytes() {
                continue;
            }
            let Some(value) = runtime.store().get(SPACE, &key)? else {
                continue;
            };
            all = all.and(value.len());
            let whose = serde_json::from_slice::<Whose>(&value);
            if whose.is_ok_and(|whose| whose.maker.by == self.by) {
                own = own.and(value.len());
            }
        }
        if !self.has_all {
            own.check(SHARE)?;
        }
        all.check(1)
    }
}

impl Runtime {
    /// Whether there is room for a schedule in the place of `before`. One's own may
    /// always be replaced by what is no longer, however much there is.
    pub(super) async fn check_room(
        self: &Arc<Self>,
        who: &Principal,
        request: &ScheduleRequest,
        before: Option<&Row>,
    ) -> Result<(), ScheduleError> {
        let bytes = encode(request).len();
        let own = before.filter(|row| row.maker.by == who.name);
        if own.is_some_and(|row| bytes <= encode(&row.schedule).len()) {
            return Ok(());
        }
        let wanted = Wanted {
            name: request.name.clone(),
            by: who.name.clone(),
            has_all: who.has_one_of(&[Role::Admin]),
            bytes,
        };
        let checked = self.looking(move |runtime| wanted.check(runtime)).await;
        checked.map_err(|error| match error {
            RunError::Store(error) => ScheduleError::from(error),
            other => ScheduleError::from(other),
        })?
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
