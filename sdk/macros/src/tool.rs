//! `#[tool]`: keeps the function as it is and adds beside it a type that describes
//! it, for `plugin!` to collect.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, FnArg, Ident, ItemFn, Lit, LitStr, Meta, PathArguments, Result,
    ReturnType, Type, TypeReference,
};

const HELP: &str = "write `read_only`, `idempotent`, `destructive`, `open_world`, `name = \"…\"` or `title = \"…\"`";
const DESCRIPTION_BYTES_MAX: usize = 8 * 1024;
const TITLE_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 64;

#[derive(Default)]
struct Arguments {
    name: Option<LitStr>,
    title: Option<LitStr>,
    read_only: Option<Ident>,
    idempotent: Option<Ident>,
    destructive: Option<Ident>,
    open_world: Option<Ident>,
}

impl Arguments {
    fn parse(tokens: TokenStream) -> Result<Self> {
        let mut arguments = Self::default();
        let parser = syn::meta::parser(|meta| arguments.take(&meta));
        parser.parse2(tokens)?;
        arguments.check()?;
        Ok(arguments)
    }

    fn take(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let Some(key) = meta.path.get_ident().cloned() else {
            return Err(meta.error(HELP));
        };
        let flag = match key.to_string().as_str() {
            "name" => return text(&mut self.name, &key, meta),
            "title" => return text(&mut self.title, &key, meta),
            "read_only" => &mut self.read_only,
            "idempotent" => &mut self.idempotent,
            "destructive" => &mut self.destructive,
            "open_world" => &mut self.open_world,
            "description" => {
                return Err(meta
                    .error("write the description as a doc comment (`/// …`) above the function"));
            }
            _ => return Err(meta.error(format!("unknown argument `{key}`: {HELP}"))),
        };
        if flag.is_some() {
            return Err(meta.error(format!("`{key}` is given twice: remove one")));
        }
        *flag = Some(key);
        Ok(())
    }

    fn check(&self) -> Result<()> {
        if let (Some(_), Some(destructive)) = (&self.read_only, &self.destructive) {
            let text =
                "a `read_only` tool changes nothing, so it cannot be `destructive`: remove one";
            return Err(Error::new(destructive.span(), text));
        }
        if let Some(title) = &self.title
            && title.value().len() > TITLE_BYTES_MAX
        {
            let text = format!("a title has at most {TITLE_BYTES_MAX} bytes: shorten it");
            return Err(Error::new(title.span(), text));
        }
        Ok(())
    }
}

fn text(slot: &mut Option<LitStr>, key: &Ident, meta: &ParseNestedMeta<'_>) -> Result<()> {
    if slot.is_some() {
        return Err(meta.error(format!("`{key}` is given twice: remove one")));
    }
    *slot = Some(meta.value()?.parse()?);
    Ok(())
}

/// What of the signature matters to the wrapper.
struct Signature {
    input: Option<Type>,
    output: Type,
    arguments: Vec<TokenStream>,
}

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments = Arguments::parse(arguments)?;
    let span = item.span();
    let function: ItemFn = syn::parse2(item)
        .map_err(|_| Error::new(span, "`#[tool]` goes on a function: move it to a `fn`"))?;
    let signature = signature(&function)?;
    let name = name(&arguments, &function)?;
    let description = description(&function)?;
    let definition = definition(&function, &arguments, &signature, &name, &description);
    Ok(quote! { #function #definition })
}

fn definition(
    function: &ItemFn,
    arguments: &Arguments,
    signature: &Signature,
    name: &str,
    description: &str,
) -> TokenStream {
    let (visibility, marker) = (&function.vis, crate::marker(&function.sig.ident));
    let title = match &arguments.title {
        Some(title) => quote! { ::core::option::Option::Some(#title) },
        None => quote! { ::core::option::Option::None },
    };
    let read_only = arguments.read_only.is_some();
    let idempotent = read_only || arguments.idempotent.is_some();
    let destructive = arguments.destructive.is_some();
    let open_world = arguments.open_world.is_some();
    let (input_schema, call) = input_side(function, signature);
    let output = &signature.output;
    let (given, _) = sides(output);
    let output_schema = quote_spanned! { given =>
        ::airlock_sdk::__private::output_schema::<<#output as ::airlock_sdk::__private::ToolResult>::Output>
    };
    quote! {
        #[doc(hidden)]
        #[allow(non_camel_case_types, reason = "it carries the function's own name")]
        #visibility struct #marker;
        impl ::airlock_sdk::__private::ToolDefinition for #marker {
            const TOOL: ::airlock_sdk::Tool = ::airlock_sdk::__private::tool(
                ::airlock_sdk::__private::ToolParts {
                    name: #name,
                    title: #title,
                    description: #description,
                    effects: ::airlock_sdk::Effects {
                        read_only: #read_only,
                        idempotent: #idempotent,
                        destructive: #destructive,
                        open_world: #open_world,
                    },
                    input_schema: #input_schema,
                    output_schema: #output_schema,
                    call: #call,
                },
            );
        }
    }
}

/// The function that makes the input's schema, and the one that runs the tool.
fn input_side(function: &ItemFn, signature: &Signature) -> (TokenStream, TokenStream) {
    let ident = &function.sig.ident;
    let arguments = &signature.arguments;
    let nothing: Type = syn::parse_quote!(::airlock_sdk::__private::NoInput);
    let input = signature.input.as_ref().unwrap_or(&nothing);
    let schema = quote_spanned! { input.span() =>
        ::airlock_sdk::__private::input_schema::<#input>
    };
    let read = quote_spanned! { input.span() =>
        let input: #input = ::airlock_sdk::__private::read_input(input)?;
    };
    let run = match function.sig.asyncness {
        Some(_) => quote! { ::airlock_sdk::task::block_on(#ident(#(#arguments),*)) },
        None => quote! { #ident(#(#arguments),*) },
    };
    let (given, failed) = sides(&signature.output);
    let or_fail = quote_spanned! { failed =>
        let output = ::airlock_sdk::__private::or_fail(result)?;
    };
    let write = quote_spanned! { given =>
        ::airlock_sdk::__private::write_output(&output)
    };
    let call = quote! {
        |input: &str, context: &::airlock_sdk::Context| {
            let _ = context;
            #read
            let _ = &input;
            let result = #run;
            #[allow(clippy::let_unit_value, reason = "a tool may give nothing")]
            #or_fail
            #write
        }
    };
    (schema, call)
}

fn signature(function: &ItemFn) -> Result<Signature> {
    let signature = &function.sig;
    let refuse = |span, text: &str| Err(Error::new(span, text));
    if let Some(generics) = signature.generics.params.first() {
        return refuse(
            generics.span(),
            "a tool has one input type: replace the generic parameter by a concrete type",
        );
    }
    if let Some(unsafety) = signature.unsafety {
        return refuse(
            unsafety.span,
            "a tool is called by the host: make it a safe function",
        );
    }
    if let Some(abi) = &signature.abi {
        return refuse(
            abi.span(),
            "a tool is called by the host: remove the `extern` ABI",
        );
    }
    let mut found = Signature {
        input: None,
        output: output(&signature.output, signature.ident.span())?,
        arguments: Vec::new(),
    };
    let mut has_context = false;
    for argument in &signature.inputs {
        let ty = match argument {
            FnArg::Receiver(receiver) => {
                return refuse(
                    receiver.self_token.span(),
                    "a tool is a free function: every call has a fresh instance, so there is no `self`; move it out of the `impl`",
                );
            }
            FnArg::Typed(argument) => &*argument.ty,
        };
        match ty {
            Type::Reference(reference) if !has_context && is_context(reference) => {
                has_context = true;
                found
                    .arguments
                    .push(quote_spanned! { ty.span() => context });
            }
            Type::Reference(_) => {
                return refuse(
                    ty.span(),
                    "a tool's only reference is `&Context`: take the input by value",
                );
            }
            _ if found.input.is_none() => {
                found.input = Some(ty.clone());
                found.arguments.push(quote! { input });
            }
            _ => {
                return refuse(
                    ty.span(),
                    "a tool takes one input: put both values in one struct",
                );
            }
        }
    }
    Ok(found)
}

/// Whether this is `&Context`, however it is reached.
fn is_context(reference: &TypeReference) -> bool {
    let last = match &*reference.elem {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    };
    reference.mutability.is_none() && last.is_some_and(|last| last.ident == "Context")
}

/// Where the two sides of a `Result` stand; where they are not to be seen, the
/// whole type for both.
fn sides(result: &Type) -> (Span, Span) {
    let Type::Path(path) = result else {
        return (result.span(), result.span());
    };
    let arguments = path.path.segments.last().map(|last| &last.arguments);
    let Some(PathArguments::AngleBracketed(arguments)) = arguments else {
        return (result.span(), result.span());
    };
    let mut types = arguments.args.iter().map(Spanned::span);
    let given = types.next().unwrap_or_else(|| result.span());
    (given, types.next().unwrap_or_else(|| result.span()))
}

fn output(output: &ReturnType, ident: proc_macro2::Span) -> Result<Type> {
    let help = "a tool returns `Result<Output, Error>`";
    match output {
        ReturnType::Default => Err(Error::new(
            ident,
            format!("{help}: add `-> Result<…, Error>`"),
        )),
        ReturnType::Type(_, ty) => match &**ty {
            Type::Path(path)
                if path
                    .path
                    .segments
                    .last()
                    .is_some_and(|last| last.ident.to_string().ends_with("Result")) =>
            {
                Ok((**ty).clone())
            }
            other => Err(Error::new(
                other.span(),
                format!("{help}: wrap this type in `Result<…, Error>`"),
            )),
        },
    }
}

fn name(arguments: &Arguments, function: &ItemFn) -> Result<String> {
    use syn::ext::IdentExt;
    let (name, span) = match &arguments.name {
        Some(name) => (name.value(), name.span()),
        None => (
            function.sig.ident.unraw().to_string(),
            function.sig.ident.span(),
        ),
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    if !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(allowed)
        || name.len() > NAME_BYTES_MAX
    {
        let text = format!(
            "`{name}` cannot name a tool: use 1 to {NAME_BYTES_MAX} characters of a-z, 0-9, `_` and `-`, a letter first (or give `#[tool(name = \"…\")]`)"
        );
        return Err(Error::new(span, text));
    }
    Ok(name)
}

fn description(function: &ItemFn) -> Result<String> {
    let lines: Vec<String> = function.attrs.iter().filter_map(doc_line).collect();
    let text = lines.join("\n").trim().to_owned();
    let span = function.sig.ident.span();
    if text.is_empty() {
        return Err(Error::new(
            span,
            "a tool needs a description: add a doc comment (`/// What it does, for whoever chooses between tools.`) above the function",
        ));
    }
    if text.len() > DESCRIPTION_BYTES_MAX {
        let text = format!(
            "a description has at most {DESCRIPTION_BYTES_MAX} bytes: shorten the doc comment"
        );
        return Err(Error::new(span, text));
    }
    Ok(text)
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(doc) = &attribute.meta else {
        return None;
    };
    if !doc.path.is_ident("doc") {
        return None;
    }
    match &doc.value {
        Expr::Lit(literal) => match &literal.lit {
            Lit::Str(line) => Some(
                line.value()
                    .strip_prefix(' ')
                    .map_or_else(|| line.value(), str::to_owned),
            ),
            _ => None,
        },
        _ => None,
    }
}
