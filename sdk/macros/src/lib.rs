//! The macros of `airlock-sdk`: `#[tool]` turns a function into a tool, and
//! `plugin!` turns tools and wants into a component.
//!
//! What must stay true: every mistake an author can make here is reported at the
//! author's own line and says what to do; `sdk/tests/ui` holds the cases.

mod plugin;
mod tool;

use proc_macro::TokenStream;

/// Makes a function a tool. See `airlock_sdk` for how to use it.
#[proc_macro_attribute]
pub fn tool(arguments: TokenStream, item: TokenStream) -> TokenStream {
    tool::expand(arguments.into(), item.into())
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}

/// Declares the plugin of this crate: its tools and what it wants. See
/// `airlock_sdk` for how to use it.
#[proc_macro]
pub fn plugin(input: TokenStream) -> TokenStream {
    plugin::expand(input.into())
        .unwrap_or_else(|error| error.into_compile_error())
        .into()
}

/// The type that `#[tool]` puts beside a function. Its name is what rustc shows
/// when `plugin!` lists a function that has no such attribute, or one that was
/// imported from a module without it.
fn marker(function: &syn::Ident) -> syn::Ident {
    use syn::ext::IdentExt;
    quote::format_ident!(
        "put_the_tool_attribute_on_{0}_or_list_it_as_its_module_and_{0}",
        function.unraw(),
        span = function.span()
    )
}
