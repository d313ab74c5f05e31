//! `owners`.

use common::api::Quotas;

use crate::{cli::OwnersCommand, client::Farm, console, error::Error, exit::Exit, text};

pub(crate) async fn run(command: OwnersCommand, farm: &Farm) -> Result<Exit, Error> {
    let client = super::connect(farm)?;
    match command {
        OwnersCommand::List { json } => {
            let owners = client.owners().await?;
            if json {
                console::print_json(&owners)?;
            } else if owners.is_empty() {
                console::say("no owner has quotas of its own");
            } else {
                let mut table = super::table(&["OWNER", "QUEUED", "RUNNING"]);
                let number =
                    |limit: Option<u32>| limit.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
                for owner in &owners {
                    let Quotas { queued, running } = owner.quotas;
                    table.add_row([text::printable(&owner.owner), number(queued), number(running)]);
                }
                console::print(&table.trim_fmt())?;
            }
        }
        OwnersCommand::Set(args) => {
            let quotas = Quotas { queued: args.queued, running: args.running };
            client.set_quotas(&args.owner, &quotas).await?;
        }
        OwnersCommand::Reset { owner } => client.reset_quotas(&owner).await?,
    }
    Ok(Exit::Ok)
}
