//! `plugin!`: collects tools and wants in one `PLUGIN`, exports the component
//! where the target is wasm, and adds a test that checks the contract's limits.

use std::collections::HashMap;

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Ident, LitStr, Path, Result, Token, bracketed, parenthesized};

/// What a grants file has rules for; a secret is a part of an `http` rule.
const CAPABILITIES: [&str; 6] = ["config", "env", "files", "http", "kv", "memory"];
const TOOLS_MAX: usize = 256;
const WANTS_MAX: usize = 64;
const SCOPE_BYTES_MAX: usize = 4 * 1024;
const REASON_BYTES_MAX: usize = 1024;

/// `want!(http, r#"{ url = "…" }"#, "the reason")`, with `optional` at the end
/// where the plugin is of use without it.
struct Want {
    capability: Ident,
    scope: LitStr,
    reason: LitStr,
    optional: bool,
}

impl Parse for Want {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name: Ident = input.parse()?;
        if name != "want" {
            return Err(Error::new(
                name.span(),
                "write `want!(capability, \"scope\", \"reason\")`",
            ));
        }
        input.parse::<Token![!]>()?;
        let content;
        parenthesized!(content in input);
        let capability: Ident = content.parse()?;
        let scope = format!("the scope, e.g. {}", example(&capability.to_string()));
        comma(&content, &scope)?;
        let scope: LitStr = content.parse()?;
        comma(
            &content,
            "the reason, in words for the administrator who decides",
        )?;
        let reason: LitStr = content.parse()?;
        let optional = optional(&content)?;
        let want = Self {
            capability,
            scope,
            reason,
            optional,
        };
        want.check()?;
        Ok(want)
    }
}

impl Want {
    fn check(&self) -> Result<()> {
        let capability = self.capability.to_string();
        if !CAPABILITIES.contains(&capability.as_str()) {
            return Err(Error::new(self.capability.span(), unknown(&capability)));
        }
        if self.reason.value().trim().is_empty() || self.reason.value().len() > REASON_BYTES_MAX {
            let text = format!("say in 1 to {REASON_BYTES_MAX} bytes why the plugin wants this");
            return Err(Error::new(self.reason.span(), text));
        }
        let scope = self.scope.value();
        let table = scope.trim().starts_with('{') && scope.trim().ends_with('}');
        if !table || scope.len() > SCOPE_BYTES_MAX {
            let text = format!(
                "give the scope as a rule of a grants file, of at most {SCOPE_BYTES_MAX} bytes, e.g. {}",
                example(&capability)
            );
            return Err(Error::new(self.scope.span(), text));
        }
        Ok(())
    }
}

/// A rule as it could stand in a grants file.
fn example(capability: &str) -> &'static str {
    match capability {
        "config" => r##"r#"{ key = "currency", value = "EUR" }"#"##,
        "env" => r##"r#"{ name = "TZ", value = "Europe/Zurich" }"#"##,
        "files" => r##"r#"{ host = "/path/to/folder", guest = "/data", access = "read" }"#"##,
        "kv" => r##"r#"{ bucket = "seen" }"#"##,
        _ => r##"r#"{ url = "https://api.example.com/*" }"#"##,
    }
}

fn unknown(capability: &str) -> String {
    match capability {
        "secrets" => "a secret is a part of an `http` want: write `want!(http, r#\"{ url = \"…\", secret = \"its-name\" }\"#, …)`".to_owned(),
        "clocks" | "random" | "log" => format!("every plugin has `{capability}`: remove this want"),
        _ => format!(
            "unknown capability `{capability}`: write one of {}",
            CAPABILITIES.join(", ")
        ),
    }
}

fn comma(content: ParseStream<'_>, next: &str) -> Result<()> {
    if content.is_empty() {
        return Err(Error::new(
            content.span(),
            format!("missing in `want!`: {next}"),
        ));
    }
    content.parse::<Token![,]>().map(drop)
}

fn optional(content: ParseStream<'_>) -> Result<bool> {
    if content.is_empty() {
        return Ok(false);
    }
    content.parse::<Token![,]>()?;
    if content.is_empty() {
        return Ok(false);
    }
    let word: Ident = content.parse()?;
    if word != "optional" || !content.is_empty() {
        return Err(Error::new(
            word.span(),
            "only `optional` may follow the reason",
        ));
    }
    Ok(true)
}

#[derive(Default)]
struct Plugin {
    tools: Option<Vec<Path>>,
    wants: Option<Vec<Want>>,
}

impl Parse for Plugin {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut plugin = Self::default();
        while !input.is_empty() {
            let key: Ident = input.parse()?;
            input.parse::<Token![:]>()?;
            let content;
            bracketed!(content in input);
            match key.to_string().as_str() {
                "tools" => set(&mut plugin.tools, &key, &content)?,
                "wants" => set(&mut plugin.wants, &key, &content)?,
                other => {
                    let text = format!(
                        "unknown field `{other}`: `plugin!` takes `tools: [...]` and `wants: [...]`"
                    );
                    return Err(Error::new(key.span(), text));
                }
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(plugin)
    }
}

fn set<T: Parse>(slot: &mut Option<Vec<T>>, key: &Ident, content: ParseStream<'_>) -> Result<()> {
    if slot.is_some() {
        return Err(Error::new(
            key.span(),
            format!("`{key}` is given twice: merge them"),
        ));
    }
    let items = Punctuated::<T, Token![,]>::parse_terminated(content)?;
    *slot = Some(items.into_iter().collect());
    Ok(())
}

pub(crate) fn expand(input: TokenStream) -> Result<TokenStream> {
    let plugin: Plugin = syn::parse2(input)?;
    let paths = plugin.tools.unwrap_or_default();
    let wants = plugin.wants.unwrap_or_default();
    check(&paths, &wants)?;
    let tools: Vec<TokenStream> = paths
        .iter()
        .map(|tool| {
            let marker = marker(tool);
            quote_spanned! { tool.span() =>
                <#marker as ::airlock_sdk::__private::ToolDefinition>::TOOL
            }
        })
        .collect();
    let names = tools.iter().zip(&paths).enumerate().skip(1);
    let names_are_new = names.map(|(index, (tool, path))| {
        let before = &tools[..index];
        quote_spanned! { path.span() =>
            const _: () = ::airlock_sdk::__private::name_is_new(&#tool, &[#(#before),*]);
        }
    });
    let wants = wants.iter().map(want);
    let export = export();
    Ok(quote! {
        /// The plugin of this crate: its tools and what it wants.
        pub static PLUGIN: ::airlock_sdk::Plugin = ::airlock_sdk::__private::plugin(
            const { &[#(#tools),*] },
            const { &[#(#wants),*] },
        );
        #(#names_are_new)*
        #export
        #[cfg(test)]
        #[test]
        fn plugin_keeps_the_contract() {
            if let ::core::result::Result::Err(problem) = ::airlock_sdk::testing::check(&PLUGIN) {
                ::core::panic!("{problem}");
            }
        }
    })
}

fn check(tools: &[Path], wants: &[Want]) -> Result<()> {
    let Some(first) = tools.first() else {
        return Err(Error::new(
            Span::call_site(),
            "a plugin has at least one tool: write `tools: [name_of_a_tool_function]`",
        ));
    };
    if tools.len() > TOOLS_MAX {
        return Err(Error::new(
            first.span(),
            format!("a plugin has at most {TOOLS_MAX} tools: split it"),
        ));
    }
    if let Some(extra) = wants.get(WANTS_MAX) {
        return Err(Error::new(
            extra.capability.span(),
            format!("a plugin has at most {WANTS_MAX} wants: merge some"),
        ));
    }
    let mut seen: HashMap<String, ()> = HashMap::new();
    for tool in tools {
        let Some(last) = tool.segments.last() else {
            continue;
        };
        if seen.insert(last.ident.to_string(), ()).is_some() {
            let text = format!(
                "there is already a tool `{}`: rename this function, or remove it from the list",
                last.ident
            );
            return Err(Error::new(tool.span(), text));
        }
    }
    Ok(())
}

/// The path of the type beside the function at `tool`.
fn marker(tool: &Path) -> Path {
    let mut path = tool.clone();
    if let Some(last) = path.segments.last_mut() {
        last.ident = crate::marker(&last.ident);
    }
    path
}

fn want(want: &Want) -> TokenStream {
    let (capability, scope, reason, optional) = (
        want.capability.to_string(),
        &want.scope,
        &want.reason,
        want.optional,
    );
    quote! {
        ::airlock_sdk::Want { capability: #capability, scope: #scope, reason: #reason, optional: #optional }
    }
}

/// The component's exports. wit-bindgen's macro holds the only unsafe code: the
/// functions the canonical ABI asks for.
fn export() -> TokenStream {
    quote! {
        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, missing_docs, reason = "the canonical ABI's entry points, generated by wit-bindgen")]
        const _: () = {
            struct Component;
            impl ::airlock_sdk::__private::Component for Component {
                fn plugin() -> &'static ::airlock_sdk::Plugin {
                    &PLUGIN
                }
            }
            ::airlock_sdk::__private::bindings::export!(Component with_types_in ::airlock_sdk::__private::bindings);
        };
    }
}
