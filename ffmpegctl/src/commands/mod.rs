//! Looking at the farm and steering it.

pub(crate) mod jobs;
pub(crate) mod keys;
mod letter;
pub(crate) mod owners;
pub(crate) mod paperwork;
pub(crate) mod presets;
pub(crate) mod probe;
pub(crate) mod profiles;
mod redrive;
mod render;
pub(crate) mod streams;
pub(crate) mod workers;

use comfy_table::{ContentArrangement, Table, presets as looks};
use common::api::WorkerState;

use crate::{
    client::{Client, Farm},
    console,
    error::Error,
    exit::Exit,
};

/// The coordinator that was named, or the one on this machine.
fn connect(farm: &Farm) -> Result<Client, Error> {
    match farm.named()? {
        Some(client) => Ok(client),
        None => farm.usual(),
    }
}

/// Does the same to each, says what became of it, and goes on after one that is refused. Returns the gravest end.
///
/// # Errors
/// stdout cannot be written.
async fn each(
    words: &[String],
    mut act: impl AsyncFnMut(&str) -> Result<Option<String>, Error>,
) -> Result<Exit, Error> {
    let mut exits = Vec::new();
    for word in words {
        match act(word).await {
            Ok(said) => {
                exits.push(Exit::Ok);
                if let Some(line) = said {
                    console::print(&line)?;
                }
            }
            Err(error) => {
                console::complain(&error.message);
                exits.push(error.exit);
                if error.exit == Exit::Unreachable {
                    break;
                }
            }
        }
    }
    Ok(Exit::worst(exits))
}

const fn worker_state(state: WorkerState) -> &'static str {
    match state {
        WorkerState::Online => "online",
        WorkerState::Draining => "draining",
        WorkerState::Quarantined => "quarantined",
        WorkerState::Lost => "lost",
    }
}

/// A table without lines, so that columns can be cut out by other programs.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(looks::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// `name   value` lines, names in one column.
fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, value): &(&str, String)| {
        let indent = format!("\n{:1$}", "", width + 2);
        format!("{name:width$}  {}", value.replace('\n', &indent))
    };
    facts.iter().filter(|(_, value)| !value.is_empty()).map(line).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_stand_in_columns_and_empty_ones_are_left_out() {
        let text = facts(&[("id", "7".to_owned()), ("owner", String::new()), ("command", "a\nb".to_owned())]);
        assert_eq!(text, "id       7\ncommand  a\n         b");
    }
}
