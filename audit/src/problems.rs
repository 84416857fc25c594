//! Findings as text, as many as anybody reads.

/// How many are listed. The rest is counted.
const LISTED: usize = 1_000;

/// What is wrong.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    texts: Vec<String>,
    more: u64,
}

impl Problems {
    pub(crate) fn add(&mut self, text: String) {
        if self.texts.len() < LISTED {
            self.texts.push(text);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> u64 {
        self.texts.len() as u64 + self.more
    }

    pub(crate) fn into_texts(mut self) -> Vec<String> {
        if self.more > 0 {
            self.texts.push(format!("and {} more", self.more));
        }
        self.texts
    }
}
