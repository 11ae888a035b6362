//! From a document to tools: which operations, on which server, with which secrets.
//!
//! What must stay true: the same document and options give the same bytes; all that
//! is wrong is told at once.

mod body;
mod media;
mod names;
mod operation;
mod parameters;
mod responses;
mod security;
mod server;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use self::operation::Operation;
use self::security::Scheme;
use self::server::Server;
use crate::image::{self, Tool, Want};
use crate::limits::{IMAGE_BYTES_MAX, OPERATIONS_MAX, PROBLEMS_MAX};
use crate::plan::{Auth, Carrier};
use crate::problem::{Problem, name, shown};
use crate::read;
use crate::spec::{Node, Spec};

/// What is asked for beside the document.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The plugin's name; where none is given, one is made of the title.
    pub plugin: String,
    /// The server, in place of the document's.
    pub base_url: Option<String>,
    /// Only these: tags, ids, tools, paths; empty: all.
    pub include: Vec<String>,
    /// Not these.
    pub exclude: Vec<String>,
    /// The scheme to be used where there are several; where the document names none,
    /// how a secret is sent: `bearer`, `basic`, `header:NAME` or `query:NAME`.
    pub auth: Option<String>,
    /// Secrets' names: one, or `scheme=name`.
    pub secrets: Vec<String>,
    /// The server's address is private.
    pub private: bool,
    /// Operations that can't be tools are left out and told.
    pub skip: bool,
}

/// Tools, and what an administrator is told of them.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The plugin's name.
    pub plugin: String,
    /// The document's title.
    pub title: String,
    /// The document's version.
    pub version: String,
    /// The server.
    pub server: String,
    /// One line for each tool.
    pub lines: Vec<Value>,
    /// The rules it wants.
    pub wants: Vec<Want>,
    /// The secrets it wants, and where they are sent.
    pub secrets: Vec<(String, Carrier)>,
    /// What is not as the document says.
    pub notes: Vec<String>,
    /// The tools.
    pub tools: Vec<Tool>,
    /// What a component carries.
    pub image: Vec<u8>,
}

/// Compiles a document, JSON or YAML.
///
/// # Errors
/// All that is wrong with it, or with what was asked for.
pub fn compile(text: &str, options: &Options) -> Result<Compiled, Vec<Problem>> {
    let one = |problem: Problem| vec![problem];
    let value = read::read(text).map_err(one)?;
    let spec = Spec::new(&value).map_err(one)?;
    let (title, version) = about(&spec).map_err(one)?;
    let mut options = options.clone();
    if options.plugin.is_empty() {
        options.plugin = plugin_name(&title).map_err(one)?;
    }
    let server = server::of_document(&spec, &options).map_err(one)?;
    let mut draft = Draft::new(&spec, &server, &options);
    let operations = draft.select()?;
    let schemes = draft.schemes(&operations).map_err(one)?;
    let used = schemes.used();
    security::check_choice(&used, &options).map_err(one)?;
    let secrets = security::secrets(&used, &options).map_err(one)?;
    let made = draft.tools(&operations, &schemes, &secrets);
    let Draft {
        mut notes,
        problems,
        ..
    } = draft;
    if !problems.is_empty() {
        return Err(problems);
    }
    let lines = made.iter().map(|(tool, number)| {
        let operation = &operations[*number];
        operation::line(tool, operation)
    });
    let lines: Vec<Value> = lines.collect();
    let tools: Vec<Tool> = made.into_iter().map(|(tool, _)| tool).collect();
    if tools.is_empty() {
        return Err(one(Problem::option(
            "no operation is left that could be a tool",
        )));
    }
    let secrets = in_use(&tools);
    let carriers: Vec<Carrier> = secrets.iter().map(|(_, carrier)| carrier.clone()).collect();
    notes.extend(server::notes(&server, &carriers));
    let wants = wants(&title, &tools, &server, &options);
    let image = image::write(&tools, wants.clone())
        .map_err(|error| one(Problem::option(error.to_string())))?;
    if image.len() > IMAGE_BYTES_MAX {
        return Err(one(Problem::option(format!(
            "{} operations take {} bytes, more than {IMAGE_BYTES_MAX}: take fewer, by --include",
            tools.len(),
            image.len()
        ))));
    }
    Ok(Compiled {
        plugin: options.plugin,
        title,
        version,
        server: server.base,
        lines,
        wants,
        secrets,
        notes,
        tools,
        image,
    })
}

fn about(spec: &Spec<'_>) -> Result<(String, String), Problem> {
    let Some(info) = spec.root.get("info") else {
        return Err(spec.root.problem("it has no `info` with a `title`"));
    };
    info.map("`info`")?;
    let text = |key: &str| shown(info.text(key).unwrap_or_default(), 100);
    Ok((text("title"), text("version")))
}

/// A plugin's name from the document's title.
fn plugin_name(title: &str) -> Result<String, Problem> {
    let made = names::of_id(&title.replace(' ', "-"));
    let made = made.map(|made| made.replace('_', "-"));
    made.ok_or_else(|| {
        Problem::new(
            "/info/title",
            format!(
                "no plugin's name can be made of `{}`: give one, as in airlock plugin add NAME \
                 --openapi FILE",
                name(title)
            ),
        )
    })
}

/// The scheme of each operation, by its number.
struct Schemes(BTreeMap<usize, Option<Scheme>>);

impl Schemes {
    fn used(&self) -> Vec<Scheme> {
        let used: BTreeSet<Scheme> = self.0.values().flatten().cloned().collect();
        used.into_iter().collect()
    }
}

struct Draft<'d, 'a> {
    spec: &'d Spec<'a>,
    server: &'d Server,
    options: &'d Options,
    notes: Vec<String>,
    problems: Vec<Problem>,
}

impl<'d, 'a> Draft<'d, 'a> {
    fn new(spec: &'d Spec<'a>, server: &'d Server, options: &'d Options) -> Self {
        Self {
            spec,
            server,
            options,
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn fault(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }

    /// An operation that can't be a tool.
    fn refuse(&mut self, operation: &Operation<'_>, problem: Problem) {
        match self.options.skip {
            true => self.notes.push(format!(
                "left out: {} {}: {problem}",
                operation.method,
                name(operation.path)
            )),
            false => self.fault(problem),
        }
    }

    /// The operations that are asked for, no two with one name.
    fn select(&mut self) -> Result<Vec<Operation<'a>>, Vec<Problem>> {
        let one = |problem: Problem| vec![problem];
        let root = &self.spec.root;
        let Some(paths) = root.get("paths") else {
            return Err(one(
                root.problem("it has no `paths`, so nothing can be called")
            ));
        };
        let mut all = Vec::new();
        for (path, item) in paths.members("`paths`").map_err(one)? {
            if path.starts_with("x-") {
                continue;
            }
            match Operation::of_path(self.spec, path, item) {
                Ok(found) => all.extend(found),
                Err(problem) => self.fault(problem),
            }
        }
        let words = self.options.include.iter().chain(&self.options.exclude);
        for word in words {
            if !all.iter().any(|operation| operation.is_meant(word)) {
                self.fault(Problem::option(format!(
                    "no operation is meant by `{}`: give a tag, an operationId, a path such as \
                     /orders/*, or a method and a path",
                    name(word)
                )));
            }
        }
        let of = |words: &[String], operation: &Operation<'_>| {
            words.iter().any(|word| operation.is_meant(word))
        };
        all.retain(|operation| {
            let included = self.options.include.is_empty() || of(&self.options.include, operation);
            included && !of(&self.options.exclude, operation)
        });
        if !self.problems.is_empty() {
            return Err(std::mem::take(&mut self.problems));
        }
        match all.len() {
            0 => Err(one(paths.problem("there is no operation that is asked for"))),
            count if count > OPERATIONS_MAX => Err(one(paths.problem(format!(
                "{count} operations, and a plugin has at most {OPERATIONS_MAX} tools: take fewer \
                 with --include TAG, or make several plugins"
            )))),
            _ => Ok(all),
        }
    }

    fn schemes(&mut self, operations: &[Operation<'a>]) -> Result<Schemes, Problem> {
        let nodes: Vec<Node<'a>> = operations.iter().map(|one| one.node.clone()).collect();
        let asked = security::asked(self.spec, &nodes, self.options)?;
        self.notes.extend(asked.note());
        let mut schemes = BTreeMap::new();
        for (number, operation) in operations.iter().enumerate() {
            match security::of_operation(self.spec, &operation.node, &asked) {
                Ok(scheme) => {
                    schemes.insert(number, scheme);
                }
                Err(problem) => self.refuse(operation, problem),
            }
        }
        Ok(Schemes(schemes))
    }

    /// The tools, with the numbers of their operations.
    fn tools(
        &mut self,
        operations: &[Operation<'a>],
        schemes: &Schemes,
        secrets: &[(Scheme, String)],
    ) -> Vec<(Tool, usize)> {
        let mut made: Vec<(Tool, usize)> = Vec::new();
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for (number, scheme) in &schemes.0 {
            let operation = &operations[*number];
            let auth = scheme.as_ref().and_then(|scheme| {
                let (_, secret) = secrets.iter().find(|(known, _)| known == scheme)?;
                Some(Auth {
                    secret: secret.clone(),
                    carrier: scheme.carrier.clone(),
                })
            });
            let tool = operation.tool(self.spec, self.server, auth.as_ref());
            let (tool, notes) = match tool {
                Ok(found) => found,
                Err(problem) => {
                    self.refuse(operation, problem);
                    continue;
                }
            };
            if let Some(first) = taken.get(&tool.name) {
                self.refuse(operation, operation::clash(&operations[*first], operation));
                continue;
            }
            taken.insert(tool.name.clone(), *number);
            self.notes.extend(notes);
            made.push((tool, *number));
        }
        made
    }
}

/// The secrets of tools, each once.
fn in_use(tools: &[Tool]) -> Vec<(String, Carrier)> {
    let all = tools.iter().filter_map(|tool| tool.plan.auth.as_ref());
    let all: BTreeSet<(String, Carrier)> = all
        .map(|auth| (auth.secret.clone(), auth.carrier.clone()))
        .collect();
    all.into_iter().collect()
}

/// One rule for each secret, and one for what is sent without: the server alone, and
/// the methods that are used.
fn wants(title: &str, tools: &[Tool], server: &Server, options: &Options) -> Vec<Want> {
    let mut by_secret: BTreeMap<Option<&str>, BTreeSet<&str>> = BTreeMap::new();
    for tool in tools {
        let secret = tool.plan.auth.as_ref().map(|auth| auth.secret.as_str());
        let methods = by_secret.entry(secret).or_default();
        methods.insert(&tool.plan.method);
    }
    let title = match title.is_empty() {
        true => "the API".to_owned(),
        false => title.to_owned(),
    };
    let carriers = in_use(tools);
    let want = |(secret, methods): (Option<&str>, BTreeSet<&str>)| {
        let methods: Vec<String> = methods.into_iter().map(str::to_owned).collect();
        Want {
            capability: "http".to_owned(),
            scope: server.rule(&methods, secret, options.private),
            reason: match secret {
                Some(secret) => {
                    let of_it = carriers.iter().filter(|(name, _)| name == secret);
                    let sent: Vec<String> = of_it.map(|(_, sent)| sent.words()).take(3).collect();
                    let sent = shown(&sent.join("; "), 600);
                    format!("To call {title}. The secret `{secret}` is {sent}.")
                }
                None => format!("To call {title}."),
            },
        }
    };
    by_secret.into_iter().map(want).collect()
}
