//! Backups.

use airlock_runtime::BackupError;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use crate::dispatch::Call;
use crate::reply::{BACKUP, Refusal, Reply};

/// Bytes that are read at once.
const PART_BYTES: usize = 256 << 10;

/// The whole backup, made before the first byte is sent.
pub(crate) async fn make(call: Call) -> Result<Reply, Refusal> {
    let file = call.runtime().backup(&call.who).await?;
    let parts = stream::try_unfold(File::from_std(file), |mut file| async move {
        let mut part = BytesMut::with_capacity(PART_BYTES);
        let read = file.read_buf(&mut part).await;
        let read = read.map_err(|source| BackupError::Files {
            step: "reading the copy",
            source,
        })?;
        Ok::<_, BackupError>((read > 0).then(|| (part.freeze(), file)))
    });
    Ok(Reply {
        body: call.parts(parts),
        ..Reply::bytes(200, BACKUP, Bytes::new())
    })
}
