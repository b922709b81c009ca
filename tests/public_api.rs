//! The public API, compared with the list in `tests/public_api.txt`.
//!
//! The list has each public item with its declaration, its inherent methods and its implementations
//! of traits, `Send` and `Sync` among them. rustdoc knows all that, so the test runs `cargo doc`
//! with all features and reads the declarations in its pages. The pages differ from release to
//! release: the test needs the compiler of `rust-toolchain.toml`, and fails with any other one.
//!
//! `GOPARK_PUBLIC_API=overwrite cargo test --test public_api` writes the list anew.

// Some items exist on some systems only. The list is of Linux.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FEATURES: &str = "sim,net,hyper,tokio-io";

/// Auto traits that are not stable.
const UNSTABLE: &[&str] = &["Freeze", "UnsafeUnpin", "StructuralPartialEq"];

/// What begins the declaration of an item in its page.
const DECLARATION: &str = "<pre class=\"rust item-decl\"><code>";

#[test]
fn the_public_api_is_the_recorded_one() {
    let path = root().join("tests/public_api.txt");
    let version = Command::new("rustc").arg("--version").output().expect("a compiler").stdout;
    let version = String::from_utf8_lossy(&version);
    assert!(
        version.starts_with(&format!("rustc {} ", pinned())),
        "this is {version}: run the test with the toolchain of rust-toolchain.toml, because \
         rustdoc's pages differ from release to release"
    );
    let mut found = public_api(&documentation());
    found.extend(features());
    assert!(found.len() > 1000, "only {} declarations: did rustdoc's pages change?", found.len());
    if std::env::var_os("GOPARK_PUBLIC_API").is_some_and(|value| value == "overwrite") {
        fs::write(&path, text(&found)).unwrap();
        return;
    }
    let recorded = fs::read_to_string(&path).unwrap_or_default();
    let recorded = lines(&recorded);
    let mut complaints = String::new();
    for (item, line) in recorded.difference(&found) {
        let _ = writeln!(complaints, "- {item}: {line}");
    }
    for (item, line) in found.difference(&recorded) {
        let _ = writeln!(complaints, "+ {item}: {line}");
    }
    assert!(
        complaints.is_empty(),
        "the public API differs from tests/public_api.txt:\n{complaints}\
         A line with `-` is gone or changed: that breaks callers. If it is intended, say so in \
         CHANGELOG.md as **Breaking**, and release a new minor version. A line with `+` is new. \
         Record both with\nGOPARK_PUBLIC_API=overwrite cargo test --test public_api"
    );
}

#[test]
fn each_public_item_has_an_example() {
    let pages = pages(&documentation());
    let missing: Vec<String> =
        pages.iter().filter(|page| is_own(page)).flat_map(without_example).collect();
    assert!(missing.is_empty(), "without a section `# Examples`:\n{}", missing.join("\n"));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The version of the compiler in `rust-toolchain.toml`.
fn pinned() -> String {
    let toolchain = fs::read_to_string(root().join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap();
    channel.trim_matches('"').to_owned()
}

/// The features that users may name.
fn features() -> impl Iterator<Item = (String, String)> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = manifest.split("\n[features]\n").nth(1).expect("the features").to_owned();
    let section = section.split("\n[").next().unwrap().to_owned();
    let names: Vec<String> = section
        .lines()
        .filter(|line| !line.starts_with(['#', '_']))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .collect();
    names.into_iter().map(|name| ("features".to_owned(), name))
}

/// Builds the documentation, in a target directory of its own because a page of another build with
/// other features must not be found there. Returns the directory of its pages.
fn documentation() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("public-api");
    let output = Command::new(env!("CARGO"))
        .args(["doc", "--package", "gopark", "--lib", "--no-deps", "--features", FEATURES])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(root())
        .env_remove("RUSTDOCFLAGS")
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo doc: {}", String::from_utf8_lossy(&output.stderr));
    target.join("doc/gopark")
}

/// A page of the documentation.
struct Page {
    /// `fn`, `struct`, `mod`, …
    kind: String,
    path: String,
    text: String,
}

/// The pages of a crate's items, except those of the guide, which is text.
fn pages(doc: &Path) -> Vec<Page> {
    let mut found = Vec::new();
    let mut dirs = vec![doc.to_owned()];
    while let Some(dir) = dirs.pop() {
        let path = dir.strip_prefix(doc).unwrap().iter().map(|part| part.to_str().unwrap());
        let module: Vec<&str> = std::iter::once("gopark").chain(path).collect();
        if module.get(1) == Some(&"guide") {
            continue;
        }
        let module = module.join("::");
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap();
            let Some(name) = name.strip_suffix(".html").filter(|name| *name != "all") else {
                continue;
            };
            let text = fs::read_to_string(&path).unwrap();
            if text.contains("<title>Redirection</title>") {
                continue;
            }
            let (kind, path) = match name.split_once('.') {
                Some((kind, name)) => (kind.to_owned(), format!("{module}::{name}")),
                None => ("mod".to_owned(), module.clone()),
            };
            found.push(Page { kind, path, text });
        }
    }
    found
}

/// The declarations in the pages of a crate, each with the item to which it belongs.
fn public_api(doc: &Path) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for page in pages(doc) {
        let item = format!("{} {}", page.kind, page.path);
        if page.kind == "mod" {
            found.extend(reexports(&page.text).map(|line| (item.clone(), line)));
            found.insert((item, format!("pub mod {}", page.path)));
        } else {
            found.extend(declarations(&page).into_iter().map(|line| (item.clone(), line)));
        }
    }
    found
}

/// What a page documents without a section `# Examples`: its item, and the item's own methods.
fn without_example(Page { kind, path, text }: &Page) -> Vec<String> {
    let has_example = |docs: &str| docs.contains("</a>Examples</h");
    let mut found = Vec::new();
    let own = text.split("class=\"section-header\"").next().unwrap();
    // The crate's page has "Getting started" instead.
    if !has_example(own) && path != "gopark" {
        found.push(format!("{kind} {path}"));
    }
    for part in text.split("<h2 id=\"").skip(1) {
        let title = part.split('"').next().unwrap();
        if !["implementations", "required-methods", "provided-methods"].contains(&title) {
            continue;
        }
        for section in part.split("<section id=\"").skip(1) {
            let id = section.split('"').next().unwrap();
            let (kind, name) = id.split_once('.').unwrap_or((id, ""));
            if ["method", "tymethod"].contains(&kind) && !has_example(section) {
                found.push(format!("{path}::{name}"));
            }
        }
    }
    found
}

/// True if the page is of an item of this crate. It has no link to the source of an item that is
/// re-exported from a dependency; `gopark-macros` has the attributes.
fn is_own(Page { kind, text, .. }: &Page) -> bool {
    let head = text.split(DECLARATION).next().unwrap();
    head.contains("/src/gopark/") || kind == "attr"
}

/// The items that a module exports again without a page of their own.
fn reexports(page: &str) -> impl Iterator<Item = String> {
    page.split("id=\"reexport.").skip(1).map(|part| {
        let code = part.split_once("<code>").unwrap().1;
        plain(code.split("</code>").next().unwrap())
    })
}

/// The declaration of an item, its methods, and the traits that it implements.
fn declarations(page: &Page) -> Vec<String> {
    // A dependency may add to its items.
    if !is_own(page) {
        return vec!["re-exported from another crate".to_owned()];
    }
    let Page { kind, text: page, .. } = page;
    let item = page.split_once(DECLARATION).expect("a declaration").1;
    let mut found = vec![plain(item.split("</code></pre>").next().unwrap())];
    // Each part of a page begins with its title. What an item has through `Deref`, or as any type
    // has, is left out, as are the methods of a trait, which its declaration has.
    for part in page.split("<h2 id=\"").skip(1) {
        let title = part.split('"').next().unwrap();
        let wanted = match kind.as_str() {
            "trait" => ["implementors", "foreign-impls"].as_slice(),
            _ => &["implementations", "trait-implementations", "synthetic-implementations"],
        };
        if !wanted.contains(&title) {
            continue;
        }
        let mut block = String::new();
        for section in part.split("<section id=\"").skip(1) {
            let class = section.split_once(" class=\"").unwrap().1;
            let class = class.split('"').next().unwrap();
            let header = section.split_once("class=\"code-header\">").expect("a header").1;
            let header = plain(header.split("</h").next().unwrap());
            if class.starts_with("impl") {
                block = header;
                // An inherent block matters for its methods only, and what pin-project-lite
                // generates for `Unpin` depends on its version.
                let listed = trait_of(&block).is_some_and(|name| !UNSTABLE.contains(&name));
                if listed && !block.contains("__Origin") {
                    found.push(block.clone());
                }
            } else if trait_of(&block).is_none() || class.starts_with("associated") {
                found.push(format!("{block}: {header}"));
            }
        }
    }
    found
}

/// The trait of an `impl .. Trait for Type`, without its path and generics; none of an inherent
/// block.
fn trait_of(block: &str) -> Option<&str> {
    // The generics of the block may have a `for` of their own.
    let mut depth = 0;
    let mut start = None;
    for (at, c) in block.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if !block[..at].ends_with('-') => depth -= 1,
            ' ' if depth == 0 && block[at..].starts_with(" for ") => {
                let name = block[start?..at].trim_start_matches('!');
                return name.split('<').next();
            }
            ' ' if depth == 0 => start = Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The text of a piece of a page, on one line.
fn plain(html: &str) -> String {
    let mut text = String::new();
    let mut rest = html;
    while let Some((before, tag)) = rest.split_once('<') {
        text.push_str(before);
        // The hint that a declaration is folded is no part of it.
        let folded = tag.starts_with("summary");
        if tag.starts_with("div") || tag.starts_with("/div") || tag.starts_with("br") {
            text.push(' ');
        }
        rest = tag.split_once(if folded { "</summary>" } else { ">" }).map_or("", |(_, rest)| rest);
    }
    text.push_str(rest);
    let entities = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("ⓘ", ""),
    ];
    for (entity, character) in entities {
        text = text.replace(entity, character);
    }
    let text = text.replace("&amp;", "&");
    let text: Vec<&str> = text.split_whitespace().collect();
    text.join(" ")
}

/// The list as it is recorded: an item on a line, and its declarations, indented, below it.
fn text(found: &BTreeSet<(String, String)>) -> String {
    let mut text = String::from(
        "# The public API with all features, on Linux. Written by\n\
         # GOPARK_PUBLIC_API=overwrite cargo test --test public_api\n",
    );
    let mut last = "";
    for (item, line) in found {
        if item != last {
            let _ = writeln!(text, "\n{item}");
            last = item;
        }
        let _ = writeln!(text, "    {line}");
    }
    text
}

/// Reads what [`text`] wrote.
fn lines(text: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut item = "";
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("    ") {
            Some(declaration) => _ = found.insert((item.to_owned(), declaration.to_owned())),
            None => item = line,
        }
    }
    found
}
