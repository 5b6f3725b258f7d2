//! From the text of a `.proto` file to the descriptors of its messages.

use std::path::{Path, PathBuf};

use prost_reflect::{DescriptorPool, FileDescriptor, MessageDescriptor};
use protox::Error;
use protox::file::{
    ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver,
};

/// The texts that imports may name.
struct Texts(Vec<(String, String)>);

impl FileResolver for Texts {
    fn resolve_path(&self, path: &Path) -> Option<String> {
        let mut names = self.0.iter().map(|(name, _)| name);
        names.find(|name| Path::new(name) == path).cloned()
    }

    fn open_file(&self, name: &str) -> Result<File, Error> {
        match self.0.iter().find(|(known, _)| known == name) {
            Some((name, text)) => File::from_source(name, text),
            None => Err(Error::file_not_found(name)),
        }
    }
}

/// Compiles the text of a file; imports are found among `imports`, below `folder`, and among the files
/// that come with Protobuf.
///
/// # Errors
/// What is wrong, with line and column where that is known.
pub(in crate::format) fn parse(
    name: &str,
    text: &str,
    imports: &[(String, String)],
    folder: Option<PathBuf>,
) -> Result<FileDescriptor, String> {
    let mut resolver = ChainFileResolver::new();
    let own = (name.to_owned(), text.to_owned());
    resolver.add(Texts([&[own], imports].concat()));
    if let Some(folder) = folder {
        resolver.add(IncludeFileResolver::new(folder));
    }
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true);
    compiler.open_file(name).map_err(|error| worded(&error))?;
    let pool: DescriptorPool = compiler.descriptor_pool();
    let file = pool.get_file_by_name(name);
    file.ok_or_else(|| format!("there is no file {name} in what was compiled"))
}

/// The error with its place: `order.proto:3:5: …`.
fn worded(error: &Error) -> String {
    format!("{error:?}")
}

/// The message of that name, full or within the file; without a name, the only one.
///
/// # Errors
/// Which messages there are, when it is not clear.
pub(in crate::format) fn find_message(
    file: &FileDescriptor,
    name: Option<&str>,
) -> Result<MessageDescriptor, String> {
    let all = all_messages(file);
    let names = || {
        let names: Vec<&str> = all.iter().map(|message| message.full_name()).collect();
        names.join(", ")
    };
    let Some(name) = name else {
        let mut outermost = file.messages();
        return match (outermost.next(), outermost.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err("it has no message".to_owned()),
            (Some(_), Some(_)) => Err(format!("it has several messages: {}", names())),
        };
    };
    let is_it = |message: &&MessageDescriptor| {
        let full = message.full_name();
        let inside = full.strip_suffix(name);
        inside.is_some_and(|outer| {
            outer.is_empty() || outer.trim_end_matches('.') == file.package_name()
        })
    };
    let found = all.iter().find(is_it).cloned();
    found.ok_or_else(|| format!("it has no message `{name}`; there are: {}", names()))
}

fn all_messages(file: &FileDescriptor) -> Vec<MessageDescriptor> {
    let mut all: Vec<MessageDescriptor> = file.messages().collect();
    let mut at = 0;
    while at < all.len() {
        let inner = all[at].child_messages().filter(|each| !each.is_map_entry());
        let inner: Vec<_> = inner.collect();
        all.extend(inner);
        at += 1;
    }
    all
}

/// The message at these places: the first counts messages of the file, each other one those inside the
/// one before.
pub(in crate::format) fn message_at(
    file: &FileDescriptor,
    path: &[usize],
) -> Option<MessageDescriptor> {
    let (first, rest) = path.split_first()?;
    let mut message = file.messages().nth(*first)?;
    for place in rest {
        let inner = message.child_messages().nth(*place)?;
        message = inner;
    }
    Some(message)
}

/// The places of a message, see [`message_at`].
pub(in crate::format) fn message_path(message: &MessageDescriptor) -> Vec<usize> {
    let mut path = Vec::new();
    let mut at = message.clone();
    while let Some(outer) = at.parent_message() {
        path.extend(outer.child_messages().position(|each| each == at));
        at = outer;
    }
    path.extend(at.parent_file().messages().position(|each| each == at));
    path.reverse();
    path
}
