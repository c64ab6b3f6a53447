//! Every code that the product gives is named by a test: a refusal that nobody has seen may not be one.
//!
//! Sources are read as Rust tokens, so comments and documentation never count. A test names a code as `Code::Variant`
//! or as its text in a string; one among alternatives (`Code::A | Code::B`) is not named, since either would do.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, as it should")]

use ccnode_evidence::Code;
use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders of crates that no shipped program depends on; their `tests/` count as tests like all others.
const DEV_ONLY: [&str; 3] = ["fuzz", "trust-service/testkit", "vm-tests"];
/// This file, whose examples bring nothing about.
const THIS: &str = "evidence/tests/codes_are_tested.rs";

/// Which codes are named where.
#[derive(Default, PartialEq, Eq, Debug)]
struct Named {
    /// In what is shipped.
    shipped: BTreeSet<Code>,
    /// In tests.
    tests: BTreeSet<Code>,
}

#[test]
fn every_code_of_the_product_is_named_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut named = Named::default();
    for file in sources(root) {
        let path = file.strip_prefix(root).unwrap();
        if path != Path::new(THIS) {
            let text = fs::read_to_string(&file).unwrap();
            named.read(path, &text);
        }
    }
    assert!(named.shipped.len() > Code::ALL.len() / 2, "the product's sources are not below {root:?}");
    let missing: Vec<_> = named.shipped.difference(&named.tests).map(|code| format!("  {code}")).collect();
    assert!(
        missing.is_empty(),
        "no test names these codes, which the product can give:\n{}\n\
         Write for each a test that brings the refusal about through the code that gives it, and that compares its\n\
         code with `Code::Variant` or with the text.",
        missing.join("\n")
    );
}

/// Every Rust source below `dir`, but what Cargo or Git put there.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap_or_default();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() && name != "target" && !name.starts_with('.') {
            found.extend(sources(&entry.path()));
        } else if kind.is_file() && name.ends_with(".rs") {
            found.push(entry.path());
        }
    }
    found
}

/// Whether the whole file is compiled for tests alone.
fn is_test_file(path: &Path) -> bool {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut folders = path.parent().into_iter().flat_map(Path::components);
    stem == "tests" || stem.ends_with("_tests") || folders.any(|folder| folder.as_os_str() == "tests")
}

impl Named {
    /// Reads the source at `path`, which is relative to the workspace.
    fn read(&mut self, path: &Path, text: &str) {
        let tokens: TokenStream = text.parse().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let dev = DEV_ONLY.iter().any(|dir| path.starts_with(dir));
        self.walk(tokens, is_test_file(path), dev);
    }

    fn walk(&mut self, tokens: TokenStream, test: bool, dev: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        // Whether this is inside an item under `#[cfg(test)]`.
        let mut item = false;
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            let test = test || item;
            match token {
                TokenTree::Punct(p) if p.as_char() == '#' => {
                    let inner = usize::from(is_punct(tokens.get(at + 1), '!'));
                    if let Some(TokenTree::Group(group)) = tokens.get(at + 1 + inner)
                        && group.delimiter() == Delimiter::Bracket
                    {
                        item |= inner == 0 && is_cfg_test(group.stream());
                        at += 1 + inner;
                    }
                }
                TokenTree::Punct(p) => item &= p.as_char() != ';',
                TokenTree::Group(group) => {
                    self.walk(group.stream(), test, dev);
                    item &= group.delimiter() != Delimiter::Brace;
                }
                TokenTree::Ident(ident) if ident == "Code" => {
                    let variants = variants(&tokens, at);
                    match test {
                        true => self.tests.extend(variants),
                        false if !dev => self.shipped.extend(variants),
                        false => {}
                    }
                }
                TokenTree::Literal(literal) if test => {
                    let text = literal.to_string();
                    self.tests.extend(Code::ALL.iter().filter(|code| says(&text, code.as_str())));
                }
                TokenTree::Ident(_) | TokenTree::Literal(_) => {}
            }
            at += 1;
        }
    }
}

/// The variants that the path at `Code` names: `Code::A`, or `Code::{A, B}` of an import.
fn variants(tokens: &[TokenTree], at: usize) -> Vec<Code> {
    if !(is_punct(tokens.get(at + 1), ':') && is_punct(tokens.get(at + 2), ':')) || is_alternative(tokens, at)
    {
        return Vec::new();
    }
    let named = match tokens.get(at + 3) {
        Some(TokenTree::Group(group)) => group.stream().into_iter().collect(),
        Some(token) => vec![token.clone()],
        None => Vec::new(),
    };
    let name =
        |token: &TokenTree| if let TokenTree::Ident(name) = token { Some(name.to_string()) } else { None };
    let names: Vec<String> = named.iter().filter_map(name).collect();
    Code::ALL.iter().copied().filter(|code| names.contains(&format!("{code:?}"))).collect()
}

/// Whether the path of four tokens at `at` is one of `Code::X | Code::Y`.
fn is_alternative(tokens: &[TokenTree], at: usize) -> bool {
    let or = |token: Option<&TokenTree>| matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == '|' && p.spacing() == Spacing::Alone);
    let before = |n: usize| at.checked_sub(n).and_then(|at| tokens.get(at));
    // `|x| Code::X` is a closure and `a || Code::X` no pattern: a path must stand before the bar.
    let path = matches!(before(2), Some(TokenTree::Ident(_))) && is_punct(before(3), ':');
    or(tokens.get(at + 4)) && !is_punct(tokens.get(at + 5), '|') || or(before(1)) && path
}

fn is_punct(token: Option<&TokenTree>, c: char) -> bool {
    matches!(token, Some(TokenTree::Punct(p)) if p.as_char() == c)
}

fn is_cfg_test(attribute: TokenStream) -> bool {
    attribute.to_string().replace(' ', "") == "cfg(test)"
}

/// Whether a string literal holds `code` as a word of its own. A code that is also a word of plain English must stand
/// between quotation marks.
fn says(literal: &str, code: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    literal.match_indices(code).any(|(at, _)| {
        let (before, rest) = literal.split_at(at);
        let (before, after) = (before.chars().next_back(), rest.chars().nth(code.len()));
        match code.contains('-') {
            true => !before.is_some_and(part) && !after.is_some_and(part),
            false => before == Some('"') && after == Some('"'),
        }
    })
}

/// What the scan sees and what it does not.
mod scan {
    use super::*;

    const A: Code = Code::TpmFailed;
    const B: Code = Code::TpmMissing;

    fn named(path: &str, text: &str) -> Named {
        let mut named = Named::default();
        named.read(Path::new(path), text);
        named
    }

    fn in_test(expression: &str) -> BTreeSet<Code> {
        named("a/tests/x.rs", &format!("fn f() {{ g({expression}); }}")).tests
    }

    fn of(shipped: &[Code], tests: &[Code]) -> Named {
        Named { shipped: shipped.iter().copied().collect(), tests: tests.iter().copied().collect() }
    }

    #[test]
    fn a_module_for_tests_counts_and_what_stands_around_it_does_not() {
        let text = r#"
            fn f() -> Code { Code::TpmFailed }
            #[cfg(test)]
            #[expect(unused)]
            mod tests { fn g() { assert_eq!(f(), Code::TpmMissing); } }
            fn h() -> &'static str { "disk-failed" }
        "#;
        assert_eq!(named("tpm/src/x.rs", text), of(&[A], &[B]));
        let text =
            "#[cfg(test)] mod tests; fn f() { Code::TpmFailed } #[cfg(unix)] mod x { f(Code::TpmMissing) }";
        assert_eq!(named("tpm/src/x.rs", text), of(&[A, B], &[]));
    }

    #[test]
    fn files_count_by_their_place() {
        let text = "fn f() { g(Code::TpmFailed) }";
        let tests = ["a/tests/x.rs", "vm-tests/b/tests/vm/x.rs", "a/src/x/tests.rs", "a/src/x_tests.rs"];
        for path in tests {
            assert_eq!(named(path, text), of(&[], &[A]), "{path}");
        }
        for path in ["vm-tests/scenarios/src/x.rs", "trust-service/testkit/src/x.rs"] {
            assert_eq!(named(path, text), of(&[], &[]), "{path}");
        }
        assert_eq!(named("a/src/contests.rs", text), of(&[A], &[]));
    }

    #[test]
    fn comments_and_documentation_do_not_count() {
        let text = r#"
            //! "tpm-failed", `Code::TpmFailed`
            /// "tpm-failed", `Code::TpmFailed`
            fn f() { /* Code::TpmFailed */ g(); } // "tpm-failed"
        "#;
        assert_eq!(named("a/tests/x.rs", text), of(&[], &[]));
    }

    #[test]
    fn a_text_is_named_whole_or_not_at_all() {
        for yes in [r#""tpm-failed""#, r#""refused: tpm-failed, at""#, r##"r#"{"code":"tpm-failed"}"#"##] {
            assert_eq!(in_test(yes), [A].into(), "{yes}");
        }
        for no in [r#""x-tpm-failed-y""#, r#""tpm-failed2""#, r#""xtpm-failed""#, r#""tpm_failed""#] {
            assert_eq!(in_test(no), BTreeSet::new(), "{no}");
        }
        assert_eq!(in_test(r#""an internal conflict""#), BTreeSet::new());
        assert_eq!(in_test(r#""conflict""#), [Code::Conflict].into());
    }

    #[test]
    fn one_of_several_is_none() {
        let several = "matches!(c, Code::TpmFailed | Code::TpmMissing | Code::DiskFailed)";
        assert_eq!(in_test(several), BTreeSet::new());
        assert_eq!(in_test("c == Code::TpmFailed || c == Code::TpmMissing"), [A, B].into());
        assert_eq!(in_test("e.map(|e| Code::TpmMissing)"), [B].into());
        assert_eq!(named("a/tests/x.rs", "use x::Code::{TpmFailed};"), of(&[], &[A]));
    }
}
