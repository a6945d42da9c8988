//! Names the runbook that fits a run best, beside its next safe act.
//!
//! **Invariant:** it is advice: whatever is wrong with the shelf, the screen that asks is shown without it.
//!
//! **Not here:** why it fits and why others do not (`runbook suggest`).

use redress::view::RunView;
use redress_runbooks::facts::Facts;
use redress_runbooks::library::Shelf;
use redress_runbooks::suggest::suggest;
use serde_json::Value;
use uuid::Uuid;

use crate::commands::look::to_value;
use crate::commands::runbook;
use crate::fail::Fail;
use crate::place::Place;

/// The runbooks that can be named.
pub struct Guide {
    shelf: Shelf,
}

impl Guide {
    /// Reads the shelf: one's own as well when they can be read, else the shipped ones, else none.
    pub fn read(place: &Place) -> Self {
        let shelf = runbook::usable(place).or_else(|fail| {
            tracing::debug!(code = fail.code(), "the shelf cannot be read");
            Shelf::shipped()
        });
        Self {
            shelf: shelf.unwrap_or_default(),
        }
    }

    /// The runbook that fits best; none when nobody need act on the run.
    pub fn best(&self, view: &RunView) -> Option<String> {
        view.next.as_ref()?;
        let books = self.shelf.books().iter().map(|book| &book.runbook);
        let best = suggest(books, &Facts::of(view)).fitting.into_iter().next();
        best.map(|best| best.name)
    }
}

/// Prints how the runbook is begun.
///
/// # Errors
/// [`Fail`] when standard output cannot be written.
pub fn print_runbook(place: &Place, head: &str, name: &str, run: Uuid) -> Result<(), Fail> {
    let command = format!("redress runbook run {name} --run {run} --as KEY");
    place.say.command(head, &command)
}

/// What has a next act as JSON, with the runbook beside it.
///
/// # Errors
/// RD0921, which nothing that is shown gives.
pub fn with_runbook(data: &impl serde::Serialize, name: Option<String>) -> Result<Value, Fail> {
    let mut value = to_value(data)?;
    if let Value::Object(fields) = &mut value {
        fields.insert("runbook".to_owned(), name.into());
    }
    Ok(value)
}
