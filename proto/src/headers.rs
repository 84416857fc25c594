//! Headers of an entry: what travels with it, and is no part of the history.

use std::fmt;
use std::sync::Arc;

use crate::limits::MAX_HEADER_BYTES;

/// What travels with an entry through the log, outside of its digest: a trace's context, for example.
/// Nothing depends on it. Two entries that differ in nothing else are the same history; archives and
/// stores do not keep it.
///
/// A header is a name and a value, as in HTTP. Whoever does not know one ignores it. An entry without
/// headers, the usual one, has nothing on the heap for them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Option<Arc<Vec<(String, String)>>>);

/// Why a header is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header {name:?} cannot travel with an entry: {rule}")]
pub struct InvalidHeader {
    name: String,
    rule: &'static str,
}

const RULE: &str = "names have letters, digits and -, values visible ASCII and spaces between it, \
                    and all headers of an entry together 512 bytes";

impl Headers {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Every header, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|headers| headers.iter()).map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The value of a header. Names are compared as they are written.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }

    /// Sets a header, in the place of one of the same name.
    ///
    /// # Errors
    /// Name or value cannot be a header, or [`MAX_HEADER_BYTES`] are not enough. Nothing has changed.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        let others = self.iter().filter(|(found, _)| *found != name);
        let bytes: usize = others.map(|(n, v)| bytes(n, v)).sum();
        let fits = bytes + self::bytes(name, value) <= MAX_HEADER_BYTES;
        if !fits || !is_name(name) || !is_value(value) {
            return Err(InvalidHeader { name: name.to_owned(), rule: RULE });
        }
        let headers = Arc::make_mut(self.0.get_or_insert_default());
        headers.retain(|(found, _)| found != name);
        headers.push((name.to_owned(), value.to_owned()));
        headers.sort_unstable();
        Ok(())
    }

    /// As text, for a medium that has no headers of its own: a line `name: value` each.
    pub fn encode(&self) -> String {
        self.to_string()
    }

    /// Reads what [`Headers::encode`] gave. What is no header is left out: nothing depends on it.
    pub fn decode(text: &str) -> Self {
        let mut headers = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
            _ = headers.set(name, value);
        }
        headers
    }
}

impl fmt::Display for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|(name, value)| writeln!(f, "{name}: {value}"))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// What it takes in a message.
fn bytes(name: &str, value: &str) -> usize {
    name.len() + value.len() + ": \r\n".len()
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

fn is_value(value: &str) -> bool {
    value.trim() == value && value.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
}
