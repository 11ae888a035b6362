//! From one operation to one tool.

use serde_json::{Value, json};

use super::server::{Server, check_own};
use super::{body, names, parameters, responses};
use crate::image::{Listing, Tool};
use crate::limits::{DESCRIPTION_BYTES_MAX, TITLE_BYTES_MAX};
use crate::plan::{Auth, CONTENT_TYPE, Plan};
use crate::problem::{Problem, name};
use crate::schema;
use crate::spec::{Node, Spec};

/// An operation of the document.
pub(crate) struct Operation<'a> {
    /// In upper case.
    pub(crate) method: String,
    pub(crate) path: &'a str,
    /// The path's own members.
    pub(crate) item: Node<'a>,
    pub(crate) node: Node<'a>,
    /// The tool's name; none where nothing makes one.
    pub(crate) name: Option<String>,
}

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

impl<'a> Operation<'a> {
    /// All operations of a path.
    pub(crate) fn of_path(
        spec: &Spec<'a>,
        path: &'a str,
        item: Node<'a>,
    ) -> Result<Vec<Self>, Problem> {
        let item = spec.resolve(item)?;
        let mut found = Vec::new();
        for (key, node) in item.members("a path")? {
            if !METHODS.contains(&key) {
                continue;
            }
            node.map("an operation")?;
            let method = key.to_ascii_uppercase();
            let own = match node.value.get("operationId") {
                None => None,
                Some(Value::String(id)) => Some(id.as_str()),
                Some(_) => return Err(node.problem("`operationId` is no text")),
            };
            let name = match own {
                Some(id) => names::of_id(id),
                None => names::of_path(&method, path),
            };
            found.push(Self {
                method,
                path,
                item: item.clone(),
                node,
                name,
            });
        }
        Ok(found)
    }

    pub(crate) fn id(&self) -> Option<&'a str> {
        self.node.text("operationId")
    }

    /// Where its servers stand: its own are in the place of the path's.
    fn names_server(&self) -> &Node<'a> {
        let own = self.node.value.get("servers").and_then(Value::as_array);
        match own {
            Some(own) if !own.is_empty() => &self.node,
            _ => &self.item,
        }
    }

    fn tags(&self) -> Vec<&'a str> {
        let tags = self.node.value.get("tags").and_then(Value::as_array);
        let tags = tags.into_iter().flatten();
        tags.filter_map(Value::as_str).collect()
    }

    /// Whether a word of `--include` or `--exclude` means it.
    pub(crate) fn is_meant(&self, word: &str) -> bool {
        let path = match word.split_once(' ') {
            Some((method, path)) if method.eq_ignore_ascii_case(&self.method) => path,
            Some(_) => return self.tags().contains(&word),
            None => word,
        };
        let by_path = match path.strip_suffix('*') {
            Some(start) => path.starts_with('/') && self.path.starts_with(start),
            None => path == self.path,
        };
        by_path
            || self.id() == Some(word)
            || self.name.as_deref() == Some(word)
            || self.tags().contains(&word)
    }

    /// The tool, and what is not as the document says.
    pub(crate) fn tool(
        &self,
        spec: &Spec<'a>,
        server: &Server,
        auth: Option<&Auth>,
    ) -> Result<(Tool, Vec<String>), Problem> {
        let tool = self.tool_name()?;
        check_own(self.names_server(), server)?;
        let mut notes = Vec::new();
        let takes_body = !matches!(self.method.as_str(), "GET" | "HEAD");
        if !takes_body && self.node.get("requestBody").is_some() {
            notes.push(format!(
                "{tool}: a body of {} has no meaning and is not sent",
                self.method
            ));
        }
        let body = match takes_body {
            true => body::read(spec, &self.node)?,
            false => None,
        };
        let mut reserved = vec!["body"];
        if body
            .as_ref()
            .is_some_and(|read| !read.body.others.is_empty())
        {
            reserved.push(CONTENT_TYPE);
        }
        let carrier = auth.map(|auth| &auth.carrier);
        let read = parameters::read(spec, &self.item, &self.node, &reserved, carrier)?;
        notes.extend(read.left_out.iter().map(|why| format!("{tool}: {why}")));
        let answer = responses::read(spec, &self.node)?;
        let (parameters, mut members): (Vec<_>, Vec<_>) = read
            .all
            .into_iter()
            .map(|one| (one.parameter, one.member))
            .unzip();
        let path = parameters::path(self.path, &self.node, &parameters)?;
        let body = body.map(|read| {
            members.extend(read.members);
            read.body
        });
        let (input, input_less) = schema::object(spec, &members, true)?;
        let (output, output_less) = schema::object(spec, &answer.members, false)?;
        for (less, what) in [(input_less, "input"), (output_less, "output")] {
            if less {
                notes.push(format!(
                    "{tool}: the schema of its {what} is too large, and tells less than the document"
                ));
            }
        }
        let plan = Plan {
            method: self.method.clone(),
            base: server.base.clone(),
            path,
            parameters,
            body,
            accept: answer.accept,
            auth: auth.cloned(),
            headers: answer.headers,
        };
        let listing = self.listing(&plan, input, output);
        Ok((
            Tool {
                name: tool.to_owned(),
                plan,
                listing,
            },
            notes,
        ))
    }

    fn tool_name(&self) -> Result<&str, Problem> {
        let Some(tool) = &self.name else {
            return Err(self.node.problem(
                "its `operationId` has no letter or digit of ASCII, of which a tool's name is made",
            ));
        };
        if self.method == "TRACE" {
            return Err(self
                .node
                .problem("TRACE can't be granted: leave it out with --exclude"));
        }
        Ok(tool)
    }

    fn listing(&self, plan: &Plan, input: Value, output: Value) -> Listing {
        let summary = self.node.text("summary").unwrap_or_default().trim();
        let description = self.node.text("description").unwrap_or_default().trim();
        let mut words: Vec<String> = Vec::new();
        if self.node.flag("deprecated") == Some(true) {
            words.push("Deprecated.".to_owned());
        }
        words.extend([summary, description].map(str::to_owned));
        words.retain(|text| !text.is_empty());
        words.dedup();
        let last = format!("{} {}", self.method, self.path);
        let most = DESCRIPTION_BYTES_MAX.saturating_sub(last.len() + 2);
        let told = cut(&words.join("\n\n"), most);
        let description = match told.is_empty() {
            true => cut(&last, DESCRIPTION_BYTES_MAX),
            false => cut(&format!("{told}\n\n{last}"), DESCRIPTION_BYTES_MAX),
        };
        Listing {
            title: (!summary.is_empty()).then(|| cut(summary, TITLE_BYTES_MAX)),
            description,
            input,
            output,
            // What the host lets a tool do that is called as read-only.
            read_only: matches!(self.method.as_str(), "GET" | "HEAD"),
            idempotent: plan.is_idempotent(),
            destructive: self.method == "DELETE",
        }
    }
}

/// The first bytes of a text, at a character. What the host would escape, and so
/// make longer, is left out.
fn cut(text: &str, bytes_max: usize) -> String {
    let plain = |c: &char| matches!(c, '\n' | '\t') || !airlock_text::is_hidden(*c);
    let mut made = String::new();
    for c in text.chars().filter(plain) {
        if made.len() + c.len_utf8() > bytes_max {
            break;
        }
        made.push(c);
    }
    made
}

/// Problems of names: two operations with one.
pub(crate) fn clash(first: &Operation<'_>, second: &Operation<'_>) -> Problem {
    let tool = second.name.as_deref().unwrap_or_default();
    let message = match (first.id(), second.id()) {
        (Some(one), Some(other)) if one == other => format!(
            "the `operationId` `{}` is that of #{} too: an operation's id is its own, rename one",
            name(one),
            first.node.at()
        ),
        _ => format!(
            "as a tool it would be `{tool}`, which #{} is: give one another `operationId`, or \
             leave it out with --exclude \"{} {}\"",
            first.node.at(),
            second.method,
            name(second.path)
        ),
    };
    second.node.problem(message)
}

/// A tool in one line, as JSON.
pub(crate) fn line(tool: &Tool, operation: &Operation<'_>) -> Value {
    let effects = match &tool.listing {
        listing if listing.read_only => "read-only",
        listing if listing.destructive => "idempotent, destructive",
        listing if listing.idempotent => "idempotent",
        _ => "plain",
    };
    json!({
        "name": tool.name,
        "method": operation.method,
        "path": operation.path,
        "effects": effects,
        "deprecated": operation.node.flag("deprecated") == Some(true),
        "secret": tool.plan.auth.as_ref().map(|auth| auth.secret.clone()),
    })
}
