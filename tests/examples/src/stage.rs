//! An example on a stage of its own: a copy of its folder, the real server as a
//! process over it, a model server that says what the script says, its services, and
//! a sink that is none of them and that nobody was granted.
//!
//! What must stay true: what is done here is done with the binary and the files that
//! the README names; only addresses and places differ.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use airlock_fake_models::{FakeModels, Script, Step};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::ask::ask;
use crate::services::Services;
use crate::{MODELS, SERVICES, models, root};

/// Where the components are, as the examples' policies say.
const COMPONENTS: &str = "../../target/wasm32-wasip2/guest";

/// How long a command may take, on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a model may take, as the examples say, and as a test waits for one that
/// never answers.
const PATIENT: &str = "first_byte_ms = 120000";
const IMPATIENT: &str = "first_byte_ms = 1500";

/// A model that is a real one, named by `AIRLOCK_TEST_MODEL_URL`.
pub struct RealModel {
    url: String,
    id: String,
    key: Option<String>,
}

impl RealModel {
    /// The one that the environment names; says so where it names none.
    #[must_use]
    pub fn named() -> Option<Self> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(url) = set("AIRLOCK_TEST_MODEL_URL") else {
            println!("skipped: AIRLOCK_TEST_MODEL_URL names no model");
            return None;
        };
        let id = set("AIRLOCK_TEST_MODEL").unwrap_or_else(|| "default".to_owned());
        let key = set("AIRLOCK_TEST_MODEL_KEY");
        Some(Self { url, id, key })
    }
}

/// A command that ran.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it printed.
    pub out: String,
    /// What it printed to standard error.
    pub err: String,
}

/// An example at work.
pub struct Stage {
    /// What the model says, and what it was asked.
    pub models: FakeModels,
    /// The services that the example may ask.
    pub services: Services,
    /// A server that nobody may ask.
    pub sink: Services,
    /// Its address.
    pub sink_url: String,
    name: String,
    folder: TempDir,
    server: Server,
    model_tokens: Cell<Option<u64>>,
    _runtime: Runtime,
}

/// The server's process; it ends when this is dropped.
struct Server {
    child: Child,
    url: String,
    token: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Stage {
    /// An example with its script, its server running and its policy in force.
    ///
    /// # Errors
    /// Something of it does not work; with what was printed.
    pub fn open(example: &str) -> Result<Self> {
        Self::open_with(example, None, &|_| {})
    }

    /// The same with a real model, where there is one, after `change` has been at its
    /// folder.
    ///
    /// # Errors
    /// As [`Stage::open`].
    pub fn open_with(
        example: &str,
        model: Option<&RealModel>,
        change: &dyn Fn(&Path),
    ) -> Result<Self> {
        let runtime = Runtime::new().context("a runtime")?;
        let from = root().join("examples").join(example);
        let folder = tempfile::tempdir().context("a folder")?;
        let here = folder.path().join(example);
        copy(&from, &here)?;
        let models = runtime.block_on(FakeModels::start(Script::default()))?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let services_at = listener.local_addr()?.to_string();
        let sink = Services::default();
        let sink_at = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let sink_url = format!("http://{}", sink_at.local_addr()?);
        runtime.spawn(sink.clone().serve_on(sink_at));
        let models_at = models.address().to_string();
        let components = components().display().to_string();
        fs::create_dir_all(here.join("out")).context("out")?;
        replace(
            &here,
            &[
                (MODELS, &models_at),
                (SERVICES, &services_at),
                (COMPONENTS, &components),
                (PATIENT, if model.is_some() { PATIENT } else { IMPATIENT }),
            ],
        )?;
        if let Some(model) = model {
            name_model(&here, &models_at, model)?;
        }
        change(&here);
        models.play(models::read(&here.join("script.json"))?);
        let services = Services::read(&here)?;
        runtime.spawn(services.clone().serve_on(listener));
        let server = serve(&here)?;
        let stage = Self {
            models,
            services,
            sink,
            sink_url,
            name: example.to_owned(),
            folder,
            server,
            model_tokens: Cell::new(None),
            _runtime: runtime,
        };
        if let Some(key) = model.and_then(|model| model.key.as_ref()) {
            stage.secret("model-key", key)?;
            stage.ok(&["models", "reload"])?;
        }
        Ok(stage)
    }

    /// A file or folder of the example's copy.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(&self.name).join(name)
    }

    /// The text of a file.
    ///
    /// # Errors
    /// It can't be read.
    pub fn text(&self, name: &str) -> Result<String> {
        let path = self.path(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// What the host's own interface answers.
    ///
    /// # Errors
    /// It refuses, or does not answer.
    pub fn get(&self, path: &str) -> Result<String> {
        ask(&self.server.url, &self.server.token, path, None)
    }

    /// The questions that wait for a person, of whichever run; the whole of each.
    ///
    /// # Errors
    /// The server does not answer.
    pub fn questions(&self) -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&self.get("/v1/approvals")?)?;
        let list = list["approvals"].as_array().context("no list")?.iter();
        let ids = list.filter_map(|question| question["id"].as_str());
        // One that was answered meanwhile is gone.
        let whole = ids.filter_map(|id| self.get(&format!("/v1/approvals/{id}")).ok());
        whole.map(|text| Ok(serde_json::from_str(&text)?)).collect()
    }

    /// The address of the host's own interface.
    #[must_use]
    pub fn host_url(&self) -> &str {
        &self.server.url
    }

    /// How many tokens of models runs may use that are started from here on.
    pub fn bound(&self, model_tokens: Option<u64>) {
        self.model_tokens.set(model_tokens);
    }

    /// Has the model say these, one after the other, and forgets what it and the
    /// services were asked.
    pub fn plays(&self, steps: impl IntoIterator<Item = Step>) {
        let steps = steps.into_iter().collect();
        self.models.play(Script { key: None, steps });
        self.services.forget();
        self.sink.forget();
    }

    /// Has the model say what the example's script says.
    ///
    /// # Errors
    /// It can't be read.
    pub fn plays_script(&self, file: &str) -> Result<()> {
        self.plays(models::read(&self.path(file))?.steps);
        Ok(())
    }

    /// The blocks of commands in the README. The first one starts what is running here
    /// already.
    ///
    /// # Errors
    /// There is none.
    pub fn blocks(&self) -> Result<Vec<String>> {
        let readme = self.text("README.md")?;
        let blocks = readme.split("```sh\n").skip(1);
        let blocks = blocks.filter_map(|block| block.split_once("```"));
        let blocks: Vec<String> = blocks.map(|(block, _)| block.to_owned()).collect();
        anyhow::ensure!(blocks.len() > 1, "the README has no commands");
        Ok(blocks)
    }

    /// Runs the README's second block, which puts its policy in force.
    ///
    /// # Errors
    /// A command of it fails.
    pub fn set_up(&self) -> Result<()> {
        let ran = self.shell(&self.blocks()?[1])?;
        match ran.code {
            0 => Ok(()),
            _ => bail!("setting up: {ran:#?}"),
        }
    }

    /// Runs lines as a person types them, until one fails.
    ///
    /// # Errors
    /// There is no shell.
    pub fn shell(&self, lines: &str) -> Result<Ran> {
        let mut command = self.command("sh");
        run(command.args(["-ec", lines]))
    }

    /// Runs `airlock` with these arguments.
    ///
    /// # Errors
    /// It does not start.
    pub fn airlock(&self, args: &[&str]) -> Result<Ran> {
        run(self.command("airlock").args(args))
    }

    /// The same; what it printed.
    ///
    /// # Errors
    /// It fails.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let ran = self.airlock(args)?;
        match ran.code {
            0 => Ok(ran.out),
            _ => bail!("airlock {args:?}: {ran:#?}"),
        }
    }

    /// The same with `--json`.
    ///
    /// # Errors
    /// It fails, or prints no JSON.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let text = self.ok(&[args, &["--json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{args:?} printed no JSON: {text}"))
    }

    /// Stores a secret.
    ///
    /// # Errors
    /// It is refused.
    pub fn secret(&self, name: &str, value: &str) -> Result<()> {
        let file = self.path("secret.txt");
        fs::write(&file, value).context("writing a secret")?;
        self.ok(&["secret", "set", name, "--file", &file.display().to_string()])?;
        fs::remove_file(&file).context("removing it")
    }

    /// Has somebody else than who started the runs answer a question.
    ///
    /// # Errors
    /// It was answered already, or the choice is none of its own.
    pub fn decide(&self, question: &Value, choice: &str) -> Result<()> {
        self.decide_as("approver", question, choice)
    }

    /// The same as somebody with this role.
    ///
    /// # Errors
    /// As [`Stage::decide`], and where the question is not for the role.
    pub fn decide_as(&self, role: &str, question: &Value, choice: &str) -> Result<()> {
        let id = question["id"].as_str().context("a question has an id")?;
        let name = format!("another-{role}");
        let made = self.json(&["token", "create", &name, "--role", role, "--role", "viewer"])?;
        let token = made["token"].as_str().context("no token")?;
        let args = match choice {
            "approve" | "deny" => vec!["approvals", choice, id],
            other => vec!["approvals", "decide", id, other],
        };
        let mut command = self.command("airlock");
        let ran = run(command.args(&args).env("AIRLOCK_TOKEN", token))?;
        match ran.code {
            0 => Ok(()),
            _ => bail!("deciding {choice}: {ran:#?}"),
        }
    }

    /// The first question of whichever run, once there is one.
    ///
    /// # Errors
    /// There is none for long.
    pub fn any_question(&self) -> Result<Value> {
        let begun = Instant::now();
        loop {
            if let Some(first) = self.questions()?.into_iter().next() {
                return Ok(first);
            }
            anyhow::ensure!(begun.elapsed() < PATIENCE, "no question came");
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// The run of an agent that was started last.
    ///
    /// # Errors
    /// There is none.
    pub fn latest(&self, agent: &str) -> Result<crate::runs::Run<'_>> {
        let list = self.json(&["runs", "list", "--agent", agent])?;
        let list = list.as_array().or(list["runs"].as_array());
        let newest = list.and_then(|list| list.first());
        let id = newest.and_then(|run| run["id"].as_str());
        let id = id.with_context(|| format!("no run of {agent}"))?;
        Ok(crate::runs::Run::named(self, id))
    }

    /// Starts a run of a workflow of the example and does not wait for anything.
    ///
    /// # Errors
    /// It does not start.
    pub fn begin(&self, file: &str, inputs: &Value) -> Result<crate::runs::Run<'_>> {
        let input = serde_json::json!({ "workflow": self.text(file)?, "inputs": inputs });
        self.start("workflow", &input)
    }

    /// Starts a run of an agent and does not wait for anything.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(&self, agent: &str, input: &Value) -> Result<crate::runs::Run<'_>> {
        let mut body = serde_json::json!({ "agent": agent, "goal": "", "input": input });
        if let Some(tokens) = self.model_tokens.get() {
            body["budget"] = serde_json::json!({ "model_tokens": tokens });
        }
        let (url, token) = (&self.server.url, &self.server.token);
        let made = ask(url, token, "/v1/runs", Some(&body.to_string()))?;
        let made: Value = serde_json::from_str(&made)?;
        let id = made["id"].as_str().context("no id")?;
        Ok(crate::runs::Run::named(self, id))
    }

    /// Runs a workflow of the example until it has ended, or it or one of its children
    /// waits for a person.
    ///
    /// # Errors
    /// It does neither for long.
    pub fn work(&self, file: &str, inputs: &Value) -> Result<crate::runs::Run<'_>> {
        let run = self.begin(file, inputs)?;
        run.settle()?;
        Ok(run)
    }

    fn command(&self, program: &str) -> Command {
        command(program, &self.path(""))
    }
}

fn command(program: &str, here: &Path) -> Command {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(binaries()).chain(std::env::split_paths(&paths));
    let paths = std::env::join_paths(paths).unwrap_or_default();
    let program = match program {
        "airlock" => binaries().join(program),
        other => other.into(),
    };
    let mut command = Command::new(program);
    command
        .current_dir(here)
        .env("PATH", paths)
        .env("AIRLOCK_DATA", here.join("data"))
        .env("AIRLOCK_CONFIG", here.join("airlock.toml"))
        .env_remove("AIRLOCK_TOKEN")
        .env_remove("AIRLOCK_SERVER")
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end, and for no longer than [`PATIENCE`].
fn run(command: &mut Command) -> Result<Ran> {
    let about = format!("{command:?}");
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {about}"))?;
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let out = std::thread::spawn(move || all(out));
    let err = std::thread::spawn(move || all(err));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            let text = |thread: JoinHandle<String>| thread.join().unwrap_or_default();
            let (out, err) = (text(out), text(err));
            bail!("no end after {PATIENCE:?}: {about}\n{out}{err}");
        }
        std::thread::sleep(LOOK_EVERY);
    };
    Ok(Ran {
        code: status.code().unwrap_or(-1),
        out: out.join().unwrap_or_default(),
        err: err.join().unwrap_or_default(),
    })
}

/// What is read until the end.
fn all(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    // What can't be read is missed by whoever looks at it.
    let _ = from.map(|mut from| from.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The folder that `airlock` was built into, e.g. `target/debug`.
fn binaries() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let dir = own.parent().unwrap_or(Path::new("."));
    match dir.ends_with("deps") {
        true => dir.parent().unwrap_or(dir).to_path_buf(),
        false => dir.to_path_buf(),
    }
}

/// A component of the workspace, by package name.
#[must_use]
pub fn component(package: &str) -> PathBuf {
    components().join(format!("{}.wasm", package.replace('-', "_")))
}

fn components() -> PathBuf {
    let target = binaries();
    let target = target.parent().unwrap_or(&target);
    target.join("wasm32-wasip2/guest")
}

/// Starts the server over the example's own data.
fn serve(here: &Path) -> Result<Server> {
    let log = fs::File::create(here.join("server.log")).context("a log")?;
    let mut command = command("airlock", here);
    command.args(["serve", "--listen", "127.0.0.1:0"]);
    let child = command.stdout(Stdio::piped()).stderr(log).spawn();
    let child = child.context("starting the server")?;
    let (url, token) = (String::new(), String::new());
    let mut server = Server { child, url, token };
    let out = server.child.stdout.take().context("no standard output")?;
    let mut lines = BufReader::new(out).lines().map_while(Result::ok);
    let listening = lines.find(|line| line.contains("listening on"));
    let Some(line) = listening else {
        let log = fs::read_to_string(here.join("server.log")).unwrap_or_default();
        bail!("the server did not start: {log}");
    };
    let url = line
        .split_whitespace()
        .find(|word| word.starts_with("http"));
    server.url = url.context("no address was printed")?.to_owned();
    let token = fs::read_to_string(here.join("data-keys/admin.token")).context("the token")?;
    token.trim().clone_into(&mut server.token);
    // What it prints later is read, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    Ok(server)
}

/// Copies what is in a folder.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        // What running it leaves.
        if matches!(name.to_str(), Some("data" | "data-keys" | "out")) {
            continue;
        }
        let target = to.join(&name);
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => drop(fs::copy(entry.path(), &target)?),
        }
    }
    Ok(())
}

/// Puts other texts in the files of a folder.
fn replace(folder: &Path, pairs: &[(&str, &str)]) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            replace(&path, pairs)?;
            continue;
        }
        let text =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let changed = pairs
            .iter()
            .fold(text.clone(), |text, (from, to)| text.replace(from, to));
        if changed != text {
            fs::write(&path, changed)?;
        }
    }
    Ok(())
}

/// Has the example ask a real model.
fn name_model(here: &Path, models_at: &str, model: &RealModel) -> Result<()> {
    let file = here.join("models.toml");
    let text = fs::read_to_string(&file).context("models.toml")?;
    let base = format!("base_url = \"http://{models_at}/v1\"");
    anyhow::ensure!(text.contains(&base), "models.toml names no {base}");
    let key = model.key.as_ref().map_or("", |_| "\nkey = \"model-key\"");
    let text = text
        .replace(&base, &format!("base_url = {:?}{key}", model.url))
        .replace("id = \"scripted\"", &format!("id = {:?}", model.id));
    fs::write(&file, text).context("models.toml")
}
