//! `owners`.

use common::{
    api::{OwnerView, Quotas},
    bytes::show,
};

use crate::{cli::OwnersCommand, client::Farm, console, error::Error, exit::Exit, text};

pub(crate) async fn run(command: OwnersCommand, farm: &Farm) -> Result<Exit, Error> {
    let client = super::connect(farm)?;
    match command {
        OwnersCommand::List { json } => {
            let owners = client.owners().await?;
            if json {
                console::print_json(&owners)?;
            } else if owners.is_empty() {
                console::say("no owner has quotas of its own, or anything else");
            } else {
                let mut table = super::table(&["OWNER", "QUEUED", "RUNNING", "BYTES", "QUOTAS"]);
                for OwnerView { owner, quotas, own, used } in &owners {
                    let bytes = used.upload_bytes.saturating_add(used.output_bytes);
                    table.add_row([
                        text::printable(owner),
                        of(used.queued, quotas.queued, |count| count.to_string()),
                        of(used.running, quotas.running, |count| count.to_string()),
                        of(bytes, quotas.bytes, show),
                        if *own { "own" } else { "usual" }.to_owned(),
                    ]);
                }
                console::print(&table.trim_fmt())?;
            }
        }
        OwnersCommand::Set(args) => {
            let quotas = Quotas { queued: args.queued, running: args.running, bytes: args.bytes };
            client.set_quotas(&args.owner, &quotas).await?;
        }
        OwnersCommand::Reset { owner } => client.reset_quotas(&owner).await?,
    }
    Ok(Exit::Ok)
}

/// `3 of 1000`; without a limit what there is alone.
fn of<T: Copy>(used: T, limit: Option<T>, say: impl Fn(T) -> String) -> String {
    match limit {
        Some(limit) => format!("{} of {}", say(used), say(limit)),
        None => say(used),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stands_beside_what_may_be() {
        assert_eq!(of(3_u32, Some(1000), |count| count.to_string()), "3 of 1000");
        assert_eq!(of(1536_u64, Some(10 << 30), show), "1.5 KiB of 10.0 GiB");
        assert_eq!(of(0_u64, None, show), "0 B");
    }
}
