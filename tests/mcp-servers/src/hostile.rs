//! A server that does one thing as no server should, and the rest well.

use std::io::{BufRead, Write, stdin, stdout};
use std::process::{Command, exit};
use std::time::Duration;

use serde_json::{Value, json};

pub fn serve(case: &str) {
    match case {
        "exits at once" => {
            eprintln!("no \u{1b}[2Jlicence");
            exit(3);
        }
        "leaves a file and exits" => {
            std::fs::write("planted", "evil").expect("its own directory");
            exit(3);
        }
        "ends with its token" => {
            eprint!("{}{}", token(), "x".repeat(4_096 - 3));
            exit(3);
        }
        "writes its token" => println!("{}{}", "x".repeat(300 - 3), token()),
        "writes a banner" => println!("Server is listening"),
        "closes its output" => {
            // The only way to close what `std` holds open: become something else.
            use std::os::unix::process::CommandExt;
            let error = Command::new("/bin/sh")
                .args(["-c", "exec >&-; sleep 60"])
                .exec();
            panic!("{error}");
        }
        "never reads" => loop {
            std::thread::sleep(Duration::from_secs(60));
        },
        _ => {}
    }
    while let Some(message) = read() {
        let id = message["id"].clone();
        let Some(method) = message["method"].as_str().filter(|_| !id.is_null()) else {
            continue;
        };
        match method {
            "initialize" => initialize(case, &id),
            "tools/list" => list(case, &id, &message["params"]),
            "tools/call" => call(case, &id),
            _ => say(&json!({ "jsonrpc": "2.0", "id": id, "result": {} })),
        }
    }
}

/// The secret that it was given.
fn token() -> String {
    std::env::var("TOKEN").expect("it is given one")
}

/// The next message; `None`: there are no more.
fn read() -> Option<Value> {
    let mut line = String::new();
    let read = stdin().lock().read_line(&mut line).expect("a line");
    (read > 0).then(|| serde_json::from_str(&line).expect("JSON"))
}

fn write(bytes: &[u8]) {
    let mut out = stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        exit(0);
    }
}

fn say(message: &Value) {
    write(format!("{message}\n").as_bytes());
}

fn result(id: &Value, result: Value) {
    say(&json!({ "jsonrpc": "2.0", "id": id, "result": result }));
}

fn initialize(case: &str, id: &Value) {
    let version = match case {
        "speaks another version" => "1999-01-01\n",
        _ => "2025-11-25",
    };
    let capabilities = match case {
        "has no tools" => json!({}),
        _ => json!({ "tools": {} }),
    };
    match case {
        "says nothing" => {}
        "answers another request" => result(&json!(999), json!({})),
        "answers with a list" => result(id, json!([])),
        "refuses" => say(
            &json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -5, "message": "go\u{202e}away" } }),
        ),
        "refuses with its token" => {
            let message = format!("{}{}", "x".repeat(300 - 3), token());
            say(
                &json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -5, "message": message } }),
            );
        }
        _ => result(
            id,
            json!({ "protocolVersion": version, "capabilities": capabilities, "serverInfo": { "name": "h", "version": "1" } }),
        ),
    }
}

fn tool(name: &str) -> Value {
    json!({ "name": name, "inputSchema": { "type": "object" } })
}

fn list(case: &str, id: &Value, params: &Value) {
    let mut only = tool("do");
    let mut deep = json!({});
    match case {
        "nests a schema without end" => {
            for _ in 0..90 {
                deep = json!({ "properties": { "a": deep } });
            }
            deep["type"] = json!("object");
            only["inputSchema"] = deep;
        }
        "sends a schema of a megabyte" => only["inputSchema"]["x"] = json!("y".repeat(1 << 20)),
        "refers to a schema elsewhere" => only["inputSchema"]["$ref"] = json!("https://a.test/"),
        "hides words in a description" => only["description"] = json!("Adds\u{e0041}\u{e0042}"),
        "breaks its structured result" => {
            only["outputSchema"] =
                json!({ "type": "object", "properties": { "n": { "type": "integer" } } });
        }
        _ => {}
    }
    let tools = match case {
        "lists a name with a line end" => json!([tool("do\nit")]),
        "lists a tool twice" => json!([tool("do"), tool("do")]),
        "lists nothing" => json!([]),
        "lists ten thousand tools" => (0..10_000).map(|n| tool(&format!("t{n}"))).collect(),
        _ => json!([only]),
    };
    let next = match case {
        "lists the same page for ever" => json!("again"),
        "lists other pages for ever" => {
            let page = params["cursor"].as_str().map_or(0, str::len);
            json!("x".repeat(page + 1))
        }
        _ => Value::Null,
    };
    match case {
        "never lists" => {}
        "lists without tools" => result(id, json!({})),
        "lists other pages for ever" => result(id, json!({ "tools": [], "nextCursor": next })),
        _ => result(id, json!({ "tools": tools, "nextCursor": next })),
    }
}

fn text(id: &Value, text: &str) {
    result(id, json!({ "content": [{ "type": "text", "text": text }] }));
}

fn call(case: &str, id: &Value) {
    match case {
        "never answers" => {}
        "answers with another id" => text(&json!(id.as_u64().unwrap_or_default() + 100), "x"),
        "answers with a text as its id" => text(&json!(id.to_string()), "x"),
        "answers twice" => {
            text(id, "x");
            text(id, "x");
        }
        "answers with 9 MB" => text(id, &"x".repeat(9 << 20)),
        "answers beyond the limit" => text(id, &"x".repeat(3_000)),
        "breaks its structured result" => result(
            id,
            json!({ "content": [], "structuredContent": { "n": "x" } }),
        ),
        "answers with an unknown kind" => result(id, json!({ "content": [{ "type": "script" }] })),
        "answers with a number" => result(id, json!(7)),
        "asks for input" => result(id, json!({ "resultType": "input_required", "content": [] })),
        "ends in the middle" => {
            write(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"con"#).as_bytes());
            exit(0);
        }
        "writes a list of messages" => say(&json!([{ "jsonrpc": "2.0", "id": id, "result": {} }])),
        "writes no UTF-8" => write(b"\xff\xfe\n"),
        "writes an error for nobody" => {
            say(&json!({ "jsonrpc": "2.0", "id": null, "error": { "code": 1, "message": "m" } }))
        }
        "refuses the call" => say(
            &json!({ "jsonrpc": "2.0", "id": id, "error": { "code": -32602, "message": "no" } }),
        ),
        "asks for sampling" => asks("sampling/createMessage", id),
        "asks for roots" => asks("roots/list", id),
        "asks for elicitation" => asks("elicitation/create", id),
        "floods with notifications" => loop {
            say(
                &json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "data": "x" } }),
            );
        },
        "floods with requests" => loop {
            say(&json!({ "jsonrpc": "2.0", "id": 1, "method": "roots/list" }));
        },
        "floods its standard error" => {
            for _ in 0..20_000 {
                eprintln!("{}", "e".repeat(100));
            }
            text(id, "done");
        }
        "leaves a process behind" => {
            // Nobody waits for it: whoever ends this program ends it too.
            #[expect(clippy::zombie_processes, reason = "it is left behind on purpose")]
            let child = Command::new("/bin/sleep")
                .arg("600")
                .spawn()
                .expect("starts");
            text(id, &child.id().to_string());
        }
        "tries what is refused" => text(id, &tried()),
        _ => text(id, "done"),
    }
}

/// What came of each attempt, in a word.
fn tried() -> String {
    use std::net::UdpSocket;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use rustix::process::{Resource, getppid, getrlimit, prlimit};

    let open = || std::fs::Permissions::from_mode(0o666);
    let limits = || getrlimit(Resource::Cpu);
    let parent = getppid();
    let tried = [
        ("unix", UnixStream::connect("socket").map(drop)),
        ("listen", UnixListener::bind("socket").map(drop)),
        ("datagram", UnixDatagram::unbound().map(drop)),
        ("datagrams", UnixDatagram::pair().map(drop)),
        ("pair", UnixStream::pair().map(drop)),
        ("udp", UdpSocket::bind("127.0.0.1:0").map(drop)),
        ("chmod", std::fs::set_permissions("..", open())),
        ("chown", chown("..", None, None)),
        (
            "host's limit",
            prlimit(parent, Resource::Cpu, limits())
                .map(drop)
                .map_err(Into::into),
        ),
        (
            "own limit",
            prlimit(None, Resource::Cpu, limits())
                .map(drop)
                .map_err(Into::into),
        ),
    ];
    let shown = tried.into_iter().chain(tried_with_files());
    let shown = shown.map(|(what, result)| match result.err() {
        None => format!("{what}: done"),
        Some(error) => format!("{what}: {}", error.raw_os_error().unwrap_or_default()),
    });
    shown.collect::<Vec<_>>().join(", ")
}

/// What changes a file that was opened to be read, what tells of files elsewhere, and
/// what would give it rights.
fn tried_with_files() -> [(&'static str, std::io::Result<()>); 7] {
    use std::os::unix::fs::{PermissionsExt, fchown};

    use rustix::fs::{IFlags, XattrFlags, fremovexattr, fsetxattr, inotify, ioctl_setflags};
    use rustix::thread::UnshareFlags;

    std::fs::write("own-file", "x").expect("its directory is its own");
    let file = std::fs::File::open("own-file").expect("is there");
    let all = std::fs::Permissions::from_mode(0o4777);
    let watch = || {
        let watched = inotify::init(inotify::CreateFlags::NONBLOCK)?;
        inotify::add_watch(&watched, "..", inotify::WatchFlags::CREATE).map(drop)
    };
    #[expect(deprecated, reason = "it is refused before it does what is unsafe")]
    let namespace = rustix::thread::unshare(UnshareFlags::NEWUSER);
    let mark = fsetxattr(&file, "user.mark", b"x", XattrFlags::empty());
    [
        ("fchmod", file.set_permissions(all)),
        ("fchown", fchown(&file, None, None)),
        ("mark", mark.map_err(Into::into)),
        (
            "unmark",
            fremovexattr(&file, "user.mark").map_err(Into::into),
        ),
        (
            "flags",
            ioctl_setflags(&file, IFlags::empty()).map_err(Into::into),
        ),
        ("watch", watch().map_err(Into::into)),
        ("namespace", namespace.map_err(Into::into)),
    ]
}

/// Asks its client for something, and tells what it was answered.
fn asks(method: &str, id: &Value) {
    say(&json!({ "jsonrpc": "2.0", "id": "mine", "method": method, "params": {} }));
    let answer = read().expect("an answer");
    text(id, &format!("{} {}", answer["id"], answer["error"]["code"]));
}
