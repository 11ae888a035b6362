//! What the cache refuses, and that it then compiles again.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::super::{CacheError, CompileError, Compiler, InstallLimits};
use super::{CodeCache, HEADER_BYTES, MAGIC, component_digest};
use crate::engine;
use crate::testing::{ECHO, guest};

fn open(dir: &Path) -> Result<CodeCache, CacheError> {
    open_for(dir, engine::Use::Tools)
}

fn open_for(dir: &Path, what_for: engine::Use) -> Result<CodeCache, CacheError> {
    let engine = engine::compiler(what_for).expect("an engine");
    let compiler = Compiler {
        program: "".into(),
        args: Vec::new(),
    };
    let (cache, key) = (dir.join("cache"), dir.join("key"));
    CodeCache::open(&engine, &cache, &key, compiler, InstallLimits::default())
}

async fn get(cache: CodeCache, bytes: &Bytes) -> (Result<(), CompileError>, CodeCache) {
    let cache = Arc::new(cache);
    let io = tokio::runtime::Handle::current();
    let digest = component_digest(bytes);
    let got = CodeCache::fetch(Arc::clone(&cache), &io, &digest, bytes.clone()).await;
    let cache = Arc::into_inner(cache).expect("no other owner");
    (got.map(|_| ()), cache)
}

/// Changes what authenticates the files.
type Change = fn(&Path, &mut CodeCache);

/// Changes the file of a component, given the file of another one.
type Tamper = fn(&mut Vec<u8>, &[u8]);

#[expect(clippy::disallowed_methods, reason = "the test damages files")]
#[tokio::test]
async fn a_file_that_was_changed_is_compiled_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let (component, other) = (guest("", ECHO), guest("(global i32 (i32.const 1))", ECHO));
    let cache = open(dir.path()).expect("a cache");
    let (path, other_path) = (
        cache.path(&component_digest(&component)),
        cache.path(&component_digest(&other)),
    );
    let (got, cache) = get(cache, &component).await;
    got.expect("compiled");
    let (got, _) = get(cache, &other).await;
    got.expect("compiled");
    let (sound, other) = (
        std::fs::read(&path).unwrap(),
        std::fs::read(&other_path).unwrap(),
    );
    let cases: &[(&str, Tamper)] = &[
        ("empty", |file, _| file.clear()),
        ("cut in the header", |file, _| {
            file.truncate(HEADER_BYTES - 1)
        }),
        ("header only", |file, _| file.truncate(HEADER_BYTES)),
        ("cut by a byte", |file, _| file.truncate(file.len() - 1)),
        ("cut in half", |file, _| file.truncate(file.len() / 2)),
        ("a byte longer", |file, _| file.push(0)),
        ("another format", |file, _| file[MAGIC.len() - 2] ^= 1),
        ("another code", |file, _| file[MAGIC.len()] ^= 1),
        ("first byte of the code", |file, _| file[HEADER_BYTES] ^= 1),
        ("a byte in the middle", |file, _| {
            let middle = file.len() / 2;
            file[middle] ^= 0x80;
        }),
        ("last byte", |file, _| *file.last_mut().unwrap() ^= 1),
        ("another component's file", |file, other| {
            *file = other.to_vec()
        }),
        (
            "another component's code under this header",
            |file, other| {
                file.truncate(HEADER_BYTES);
                file.extend_from_slice(&other[HEADER_BYTES..]);
            },
        ),
        ("bare code, as the engine would take it", |file, _| {
            file.drain(..HEADER_BYTES);
        }),
    ];
    for (name, tamper) in cases {
        let mut file = sound.clone();
        tamper(&mut file, &other);
        std::fs::write(&path, &file).unwrap();
        let (got, cache) = get(open(dir.path()).expect("a cache"), &component).await;
        got.expect(name);
        let stats = cache.stats();
        assert_eq!(
            (stats.cache_refused, stats.compiled, stats.cache_hits),
            (1, 1, 0),
            "{name}"
        );
        let (got, cache) = get(open(dir.path()).expect("a cache"), &component).await;
        got.expect(name);
        let stats = cache.stats();
        assert_eq!(
            (stats.cache_hits, stats.compiled),
            (1, 0),
            "{name}: it was put right"
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "the test changes files")]
#[tokio::test]
async fn code_of_another_build_key_or_engine_is_refused() {
    let component = guest("", ECHO);
    let dir = tempfile::tempdir().expect("a directory");
    let changes: &[(&str, Change)] = &[
        ("another build", |_, cache| cache.build[0] ^= 1),
        ("another engine", |dir, cache| {
            *cache = open_for(dir, engine::Use::Agents).expect("a cache");
        }),
        ("another key", |dir, cache| {
            std::fs::remove_file(dir.join("key")).unwrap();
            *cache = open(dir).expect("a cache");
        }),
    ];
    for (name, change) in changes {
        let (got, _) = get(open(dir.path()).expect("a cache"), &component).await;
        got.expect(name);
        let mut cache = open(dir.path()).expect("a cache");
        change(dir.path(), &mut cache);
        let (got, cache) = get(cache, &component).await;
        got.expect(name);
        let stats = cache.stats();
        assert_eq!(
            (stats.cache_refused, stats.compiled, stats.cache_hits),
            (1, 1, 0),
            "{name}"
        );
    }
}

#[tokio::test]
async fn bytes_of_another_digest_are_not_compiled() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = Arc::new(open(dir.path()).expect("a cache"));
    let io = tokio::runtime::Handle::current();
    let wrong = format!("sha256:{}", "0".repeat(64));
    let got = CodeCache::fetch(Arc::clone(&cache), &io, &wrong, guest("", ECHO)).await;
    assert!(matches!(got.err(), Some(CompileError::Digest)));
    assert_eq!(cache.stats().compiled, 0);
}

#[expect(clippy::disallowed_methods, reason = "the test changes files")]
#[test]
fn the_key_is_private_and_elsewhere() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    open(dir.path()).expect("a cache");
    let key = dir.path().join("key");
    let mode = |mode| std::fs::set_permissions(&key, PermissionsExt::from_mode(mode)).unwrap();
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for (bits, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false)] {
        mode(bits);
        let opened = open(dir.path());
        assert_eq!(opened.is_ok(), accepted, "{bits:o}");
        if let Err(error) = opened {
            assert!(matches!(error, CacheError::KeyMode { .. }), "{error}");
        }
    }
    mode(0o600);
    for bytes in [0, 31, 33] {
        std::fs::write(&key, vec![1; bytes]).unwrap();
        let error = open(dir.path()).err().expect("a wrong length");
        assert!(
            matches!(error, CacheError::KeyLength { .. }),
            "{bytes}: {error}"
        );
    }
    let engine = engine::compiler(engine::Use::Tools).expect("an engine");
    let cache = dir.path().join("cache");
    for key in ["key", "deeper/key", "../cache/key"] {
        let compiler = Compiler {
            program: "".into(),
            args: Vec::new(),
        };
        let inside = CodeCache::open(
            &engine,
            &cache,
            &cache.join(key),
            compiler,
            InstallLimits::default(),
        );
        assert!(
            matches!(inside.err(), Some(CacheError::KeyInside { .. })),
            "{key}"
        );
    }
}
