//! The command line of `keys`.

use clap::{Args, Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};
use common::api::Scope;

use super::{JSON, seconds};

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a key. It is printed once and kept nowhere: the farm knows its hash alone.
    ///
    /// The first key must have the scope admin. It can be made on the coordinator's machine without any key; from then on
    /// nobody gets in without one.
    Create(KeysCreate),
    /// List keys, oldest first: whose they are and what they open, not what they are.
    #[command(alias = "ls")]
    List(KeysList),
    /// End keys at once, and what their holders follow.
    Revoke(KeysRevoke),
}

#[derive(Debug, Args)]
pub struct KeysCreate {
    /// In whose name its holder submits, and whose jobs it sees. Only an admin key may do without.
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// What it opens: submit (uploads, jobs, cancelling), read (jobs, logs, outputs, events), view (live streams), admin
    /// (everything, of every owner). May be repeated.
    #[arg(long = "scope", value_name = "SCOPE", value_delimiter = ',', default_values = ["submit", "read"], value_parser = scope())]
    pub scopes: Vec<Scope>,
    /// For people: what it is for.
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// When it ends by itself: 12h, 2160h. Default: never.
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    pub expires_in: Option<u64>,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct KeysList {
    /// Revoked and expired ones too.
    #[arg(long)]
    pub all: bool,
    /// Whole ids instead of the last twelve characters.
    #[arg(long)]
    pub full: bool,
    #[arg(long, help = JSON)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct KeysRevoke {
    /// The ids, enough of their beginnings or ends, or the names that they were given.
    #[arg(required = true, value_name = "KEY")]
    pub keys: Vec<String>,
}

fn scope() -> impl TypedValueParser<Value = Scope> {
    PossibleValuesParser::new(Scope::ALL.map(Scope::as_str)).try_map(|word| word.parse::<Scope>())
}

#[derive(Debug, Subcommand)]
pub enum OwnersCommand {
    /// List owners with what they have of what they may have.
    #[command(alias = "ls")]
    List {
        #[arg(long, help = JSON)]
        json: bool,
    },
    /// Give an owner quotas of its own, instead of those that are configured for everybody.
    Set(OwnersSet),
    /// Let what is configured for everybody hold for an owner again.
    Reset {
        #[arg(value_name = "OWNER")]
        owner: String,
    },
}

#[derive(Debug, Args)]
pub struct OwnersSet {
    #[arg(value_name = "OWNER")]
    pub owner: String,
    /// Jobs that may wait; another one is refused. Default: as many as there are.
    #[arg(long, value_name = "N")]
    pub queued: Option<u32>,
    /// Tasks that may run at once; others wait. Default: as many as there is room for.
    #[arg(long, value_name = "N")]
    pub running: Option<u32>,
    /// Bytes that it may hold in the farm's storage, uploads and outputs together; more is refused: 500GB, 2TiB. Default: as many
    /// as there is room for.
    #[arg(long, value_name = "SIZE", value_parser = common::bytes::parse)]
    pub bytes: Option<u64>,
}
