//! Dials the coordinator and carries messages, and dials again when that ends.

use std::{future::Future, pin::Pin, time::Duration};

use common::{backoff::Backoff, config::Secret, proto};
use proto::{
    CoordinatorMessage, Hello, Welcome, WorkerMessage, coordinator_message, worker_message,
    worker_service_client::WorkerServiceClient,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Code, Status, Streaming,
    metadata::MetadataValue,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

use super::{Bearer, Client, Connection, message};
use crate::options::Address;

/// Messages on their way out. A coordinator that does not take this many is as good as gone.
const OUTBOX: usize = 256;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the open stream to Welcome.
const WELCOME_TIMEOUT: Duration = Duration::from_secs(15);
/// A connection that is dead without anybody having said so is found after both.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// Quick, so that a restarted coordinator has its workers back within the grace of their attempts.
const QUICK: Backoff = Backoff { base: Duration::from_millis(200), cap: Duration::from_secs(5) };
/// When somebody has to change something first: a wrong token, another version.
const SLOW: Backoff = Backoff { base: Duration::from_secs(10), cap: Duration::from_secs(60) };
/// A session that lasted this long was a good one: the next dialling starts anew.
const GOOD_SESSION: Duration = Duration::from_secs(10);

/// Whom to dial, and how.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) address: Address,
    pub(crate) token: Option<Secret>,
}

/// The connection, whatever its state. [`Link::next`] drives it.
#[derive(Debug)]
pub(crate) struct Link {
    dial: Dial,
    phase: Phase,
    retries: u32,
    /// What was said last about not being connected, so that it is said once.
    told: Option<String>,
    /// Why there is no session, for whoever asks; empty while there is one.
    trouble: watch::Sender<String>,
}

enum Phase {
    Waiting(Pin<Box<Sleep>>),
    Dialling(Pin<Box<dyn Future<Output = Result<Opened, Refusal>> + Send>>),
    Open(Box<Open>),
}

impl std::fmt::Debug for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting(_) => "Waiting",
            Self::Dialling(_) => "Dialling",
            Self::Open(_) => "Open",
        })
    }
}

struct Open {
    outbox: mpsc::Sender<WorkerMessage>,
    inbox: Streaming<CoordinatorMessage>,
    since: Instant,
}

struct Opened {
    open: Open,
    /// When Hello was sent.
    asked: std::time::Instant,
    client: Client,
    welcome: Welcome,
}

/// Why there is no session.
#[derive(Debug)]
struct Refusal {
    /// For people.
    reason: String,
    /// Trying again soon cannot help.
    lasting: bool,
}

/// What happened to the connection.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    /// With the time at which Hello was sent.
    Connected(Box<Connection>, Box<Welcome>, std::time::Instant),
    Message(Box<CoordinatorMessage>),
    Lost,
}

impl Link {
    /// Dials at the first [`Link::next`].
    pub(crate) fn new(dial: Dial, trouble: watch::Sender<String>) -> Self {
        let phase = Phase::Waiting(Box::pin(sleep(Duration::ZERO)));
        Self { dial, phase, retries: 0, told: None, trouble }
    }

    /// The next thing that happens. Can be dropped and called again. `hello` is called when the link dials.
    pub(crate) async fn next(&mut self, hello: impl Fn() -> Hello) -> LinkEvent {
        loop {
            match &mut self.phase {
                Phase::Waiting(wait) => {
                    wait.await;
                    let dial = self.dial.clone();
                    let hello = Hello { dialled: dial.address.authority(), ..hello() };
                    self.phase = Phase::Dialling(Box::pin(open(dial, hello)));
                }
                Phase::Dialling(dialling) => match dialling.await {
                    Ok(Opened { open, asked, client, welcome }) => {
                        let session = welcome.session_id.clone();
                        self.told = None;
                        self.trouble.send_replace(String::new());
                        self.phase = Phase::Open(Box::new(open));
                        return LinkEvent::Connected(
                            Box::new(Connection { client, session }),
                            Box::new(welcome),
                            asked,
                        );
                    }
                    Err(refusal) => self.wait(&refusal),
                },
                Phase::Open(open) => match open.inbox.message().await {
                    Ok(Some(message)) => return LinkEvent::Message(Box::new(message)),
                    Ok(None) => return self.lost(&ended()),
                    Err(status) => return self.lost(&refusal(&self.dial.address, &status)),
                },
            }
        }
    }

    /// Sends a message if a session is open. A full outbox ends the session: what matters is sent again in the next.
    pub(crate) fn send(&mut self, message: WorkerMessage) {
        if let Phase::Open(open) = &self.phase
            && let Err(mpsc::error::TrySendError::Full(_)) = open.outbox.try_send(message)
        {
            tracing::warn!("the coordinator takes no messages, connecting anew");
            // Dropping both halves ends the stream; `next` then says that it is lost.
            let (closed, _) = mpsc::channel(1);
            if let Phase::Open(open) = &mut self.phase {
                open.outbox = closed;
            }
        }
    }

    fn lost(&mut self, refusal: &Refusal) -> LinkEvent {
        if let Phase::Open(open) = &self.phase
            && open.since.elapsed() >= GOOD_SESSION
        {
            self.retries = 0;
        }
        self.wait(refusal);
        LinkEvent::Lost
    }

    fn wait(&mut self, refusal: &Refusal) {
        let backoff = if refusal.lasting { SLOW } else { QUICK };
        let delay = backoff.delay(self.retries, rand::random());
        self.retries = self.retries.saturating_add(1);
        let coordinator = &self.dial.address;
        if self.told.as_ref() == Some(&refusal.reason) {
            tracing::debug!(%coordinator, reason = refusal.reason, ?delay, "still not connected");
        } else {
            tracing::warn!(%coordinator, reason = refusal.reason, "not connected to the coordinator, trying again");
            self.told = Some(refusal.reason.clone());
        }
        self.trouble.send_replace(refusal.reason.clone());
        self.phase = Phase::Waiting(Box::pin(sleep(delay)));
    }
}

async fn open(dial: Dial, hello: Hello) -> Result<Opened, Refusal> {
    let channel = connect(&dial.address).await?;
    let mut client = WorkerServiceClient::with_interceptor(channel, bearer(dial.token.as_ref())?);
    let (outbox, messages) = mpsc::channel(OUTBOX);
    let first = message(worker_message::Message::Hello(hello));
    let asked = std::time::Instant::now();
    outbox.try_send(first).map_err(|_| ended())?;
    let welcome = async {
        let mut inbox = client.session(ReceiverStream::new(messages)).await?.into_inner();
        let welcome = inbox.message().await?;
        Ok::<_, Status>((inbox, welcome))
    };
    let (inbox, welcome) = match timeout(WELCOME_TIMEOUT, welcome).await {
        Err(_) => return Err(passing("it did not answer in time".to_owned())),
        Ok(Err(status)) => return Err(refusal(&dial.address, &status)),
        Ok(Ok(both)) => both,
    };
    let Some(CoordinatorMessage { message: Some(coordinator_message::Message::Welcome(welcome)) }) = welcome
    else {
        return Err(lasting(
            "it did not begin with a welcome; is this address a coordinator's worker port?".to_owned(),
        ));
    };
    if !(proto::PROTOCOL_MIN..=proto::PROTOCOL_MAX).contains(&welcome.protocol) {
        return Err(lasting(format!(
            "it wants to speak protocol version {}, and this worker speaks {} to {}; update the older of both",
            welcome.protocol,
            proto::PROTOCOL_MIN,
            proto::PROTOCOL_MAX
        )));
    }
    Ok(Opened { open: Open { outbox, inbox, since: Instant::now() }, asked, client, welcome })
}

async fn connect(address: &Address) -> Result<Channel, Refusal> {
    let wrong = |error: tonic::transport::Error| lasting(innermost(&error));
    let mut endpoint = Endpoint::from_shared(address.to_string())
        .map_err(wrong)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true);
    if address.is_tls() {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_native_roots()).map_err(wrong)?;
    }
    endpoint.connect().await.map_err(|error| passing(format!("cannot connect: {}", innermost(&error))))
}

fn bearer(token: Option<&Secret>) -> Result<Bearer, Refusal> {
    let Some(token) = token else { return Ok(Bearer(None)) };
    let mut value: MetadataValue<_> = format!("Bearer {}", token.expose())
        .parse()
        .map_err(|_| lasting("TVARR_AUTH_TOKEN holds characters that no token may hold".to_owned()))?;
    value.set_sensitive(true);
    Ok(Bearer(Some(value)))
}

fn refusal(address: &Address, status: &Status) -> Refusal {
    match status.code() {
        Code::Unauthenticated | Code::PermissionDenied => lasting(format!(
            "{address} refused this worker's token ({}); TVARR_AUTH_TOKEN must be the coordinator's \
             TVARR_GRPC_AUTH_TOKEN",
            status.message()
        )),
        Code::FailedPrecondition | Code::Unimplemented => {
            lasting(format!("it refused this worker: {}", status.message()))
        }
        _ => passing(format!("the session ended: {}", status.message())),
    }
}

fn ended() -> Refusal {
    passing("it ended the session".to_owned())
}

fn passing(reason: String) -> Refusal {
    Refusal { reason, lasting: false }
}

fn lasting(reason: String) -> Refusal {
    Refusal { reason, lasting: true }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_person_must_change_is_waited_for_slowly() {
        let address: Address = "farm:9090".parse().unwrap();
        let wrong_token = refusal(&address, &Status::unauthenticated("no"));
        assert!(wrong_token.lasting && wrong_token.reason.contains("TVARR_AUTH_TOKEN"), "{wrong_token:?}");
        assert!(refusal(&address, &Status::failed_precondition("no common protocol version")).lasting);
        assert!(!refusal(&address, &Status::unavailable("going away")).lasting);
    }

    #[test]
    fn a_token_that_no_header_takes_is_no_panic() {
        assert!(bearer(Some(&Secret::new("line\nbreak"))).unwrap_err().lasting);
        assert!(bearer(Some(&Secret::new("good"))).unwrap().0.unwrap().is_sensitive());
    }
}
