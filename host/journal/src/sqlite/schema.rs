//! The database file: how a connection is set up, what the tables are, and
//! which versions this build can read.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::store::StoreError;

/// "AIRL", so that `file` and we can tell the database from another one.
const APPLICATION_ID: u32 = 0x4149_524C;
/// Raised with every change of the tables, which then also needs a migration.
const SCHEMA_VERSION: u32 = 1;

/// `pairs.sum` is a checksum over space, key and value, see `rows::sum`.
const TABLES: &str = "
CREATE TABLE pairs(
    space TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, sum INTEGER NOT NULL,
    PRIMARY KEY(space, key)) WITHOUT ROWID;
CREATE TABLE records(
    stream BLOB NOT NULL, seq INTEGER NOT NULL, payload BLOB NOT NULL, hash BLOB NOT NULL,
    PRIMARY KEY(stream, seq)) WITHOUT ROWID;
CREATE TABLE heads(
    stream BLOB PRIMARY KEY, len INTEGER NOT NULL, hash BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE leases(
    lease BLOB PRIMARY KEY, owner TEXT NOT NULL, token INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL) WITHOUT ROWID;
";

/// How a connection is going to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Write,
    Read,
}

/// Opens a connection: full sync, no automatic checkpoints (theirs ignore
/// errors; ours must not), none at close either.
pub(super) fn connect(file: &Path, mode: Mode) -> Result<Connection, StoreError> {
    let access = match mode {
        Mode::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Mode::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let conn = Connection::open_with_flags(file, flags)?;
        conn.busy_timeout(std::time::Duration::from_secs(5))?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        conn.set_prepared_statement_cache_capacity(64);
        conn.execute_batch(
            "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0; PRAGMA trusted_schema=OFF;
             PRAGMA cell_size_check=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-2000;
             PRAGMA journal_size_limit=67108864;",
        )?;
        Ok(conn)
    };
    open().map_err(|source| failure(file, "opening the database", source))
}

/// Refuses a database that is not ours or is newer than this build; returns
/// whether it has any tables yet.
pub(super) fn recognise(conn: &Connection, file: &Path) -> Result<bool, StoreError> {
    let wrap = |source| failure(file, "reading the database's schema", source);
    let application = pragma(conn, "application_id").map_err(wrap)?;
    let found = pragma(conn, "user_version").map_err(wrap)?;
    let tables = conn
        .query_row("SELECT count(*) FROM sqlite_schema", (), |row| {
            row.get::<_, u64>(0)
        })
        .map_err(wrap)?;
    if tables == 0 && application == 0 {
        return Ok(false);
    }
    if application != APPLICATION_ID {
        let name = file.display();
        return Err(StoreError::corrupt(format!(
            "{name}: not an Airlock database"
        )));
    }
    if found > SCHEMA_VERSION {
        return Err(StoreError::Version {
            found,
            supported: SCHEMA_VERSION,
        });
    }
    Ok(true)
}

/// Creates the tables in an empty database.
pub(super) fn create(conn: &mut Connection, file: &Path) -> Result<(), StoreError> {
    let mut create = || {
        let tx = conn.transaction()?;
        tx.execute_batch(TABLES)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        tx.commit()
    };
    create().map_err(|source| failure(file, "creating the tables", source))
}

/// Turns the write-ahead log on; a restored backup has it off.
pub(super) fn use_log(conn: &Connection, file: &Path) -> Result<(), StoreError> {
    let step = "turning the write-ahead log on";
    let mode = conn
        .query_row("PRAGMA journal_mode=WAL", (), |row| row.get::<_, String>(0))
        .map_err(|source| failure(file, step, source))?;
    if mode == "wal" {
        return Ok(());
    }
    let found = std::io::Error::other(format!("the database stays in mode {mode}"));
    Err(StoreError::io(step, found))
}

fn pragma(conn: &Connection, name: &str) -> rusqlite::Result<u32> {
    conn.pragma_query_value(None, name, |row| row.get(0))
}

/// A database error as ours: damage that SQLite itself found is `Corrupt`.
pub(super) fn failure(file: &Path, step: &str, source: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match source.sqlite_error_code() {
        Some(DatabaseCorrupt | NotADatabase) => {
            StoreError::corrupt(format!("{}: {source} ({step})", file.display()))
        }
        _ => StoreError::io(step, source),
    }
}
