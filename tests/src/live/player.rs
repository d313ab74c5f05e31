//! Players that people have, ffplay and VLC, without a screen and a loudspeaker: what they show is read picture by picture.
//!
//! ffplay draws into SDL's dummy window, which is saved each time. VLC's display is a pipe. Neither may leave out a picture
//! that is late, so that what is missing is missing in what they were sent.

use std::{
    fs::File,
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rustix::{
    fs::{CWD, FileType, Mode},
    process::{Pid, Signal},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    net::unix::pipe,
    task::AbortHandle,
};

use super::{
    decode::{RAGGED, number},
    recording::Recording,
    runtime,
};
use crate::{
    binaries,
    wait::{self, seconds},
};

const FFPLAY: &str = "ffplay";
const VLC: &str = "VLC";
/// Without a picture that was not shown before: whatever the machine is busy with, this one stands still.
const STANDS_STILL: Duration = seconds(30);
/// How often the window is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The window of SDL, pixels.
const WINDOW: (&str, &str) = ("64", "36");
/// `nobody`: VLC refuses to be root.
const NOBODY: u32 = 65534;

/// Pictures in the order in which they were shown, by the number in them; `None`: it cannot be read.
#[derive(Debug, Default)]
struct Screen {
    shown: Vec<Option<u32>>,
    /// What had been said when the first of them was shown, in bytes.
    said_before: usize,
}

/// Plays until it is stopped or dropped.
#[derive(Debug)]
pub struct Player {
    name: &'static str,
    child: Child,
    screen: Arc<Mutex<Screen>>,
    reader: AbortHandle,
    home: TempDir,
}

/// What a player showed and said.
#[derive(Debug, Clone)]
pub struct Watched {
    name: &'static str,
    shown: Vec<Option<u32>>,
    complaints: String,
}

impl Drop for Player {
    fn drop(&mut self) {
        let group = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
        self.reader.abort();
    }
}

impl Player {
    /// # Panics
    /// There is no ffplay.
    #[must_use]
    pub fn ffplay(url: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = program("ffplay", &[]);
        command
            .args(["-hide_banner", "-loglevel", "error", "-nostats", "-noframedrop", "-autoexit"])
            .args(["-x", WINDOW.0, "-y", WINDOW.1, url])
            .env("SDL_VIDEODRIVER", "dummy")
            .env("SDL_AUDIODRIVER", "dummy")
            .env("SDL_VIDEO_DUMMY_SAVE_FRAMES", "1");
        let window = home.path().to_owned();
        Self::start(FFPLAY, command, home, |screen| async move { read_window(&window, &screen).await })
    }

    /// # Panics
    /// There is no VLC.
    #[must_use]
    pub fn vlc(url: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let display = home.path().join("display");
        rustix::fs::mknodat(CWD, &display, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let root = rustix::process::geteuid().is_root();
        let id = NOBODY.to_string();
        let other: &[&str] = if root { &["--reuid", &id, "--regid", &id, "--clear-groups"] } else { &[] };
        if root {
            for path in [home.path(), &display] {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        let mut command = program("vlc", other);
        command
            .args(["--intf", "dummy", "--no-dbus", "--no-color", "--no-spu", "--play-and-exit"])
            .args(["--aout", "dummy", "--vout", "yuv", "--yuv-yuv4mpeg2"])
            .args(["--no-drop-late-frames", "--no-skip-frames"])
            // It tries a GPU's memory first, and loses the first picture where it then decodes into the display's.
            .args(["--avcodec-hw", "none", "--no-avcodec-dr"])
            .arg("--yuv-file")
            .arg(&display)
            .arg(url);
        Self::start(VLC, command, home, |screen| async move {
            // Open for writing too: it has no end when VLC closes it to open it again.
            let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(&display)?;
            read_display(pipe, &screen).await
        })
    }

    fn start<Read: Future<Output = io::Result<()>> + Send + 'static>(
        name: &'static str,
        mut command: Command,
        home: TempDir,
        read: impl FnOnce(Sink) -> Read,
    ) -> Self {
        let log = home.path().join("log");
        let said = File::create(&log).unwrap();
        let child = command.env("HOME", home.path()).current_dir(home.path()).stderr(said).spawn().unwrap();
        let screen = Arc::<Mutex<Screen>>::default();
        let sink = Sink { screen: Arc::clone(&screen), log };
        let reader = read(sink);
        let reader = runtime().spawn(async move { reader.await.unwrap() }).abort_handle();
        Self { name, child, screen, reader, home }
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.home.path().join("log")).unwrap()).into_owned()
    }

    /// Pictures that it has shown.
    #[must_use]
    pub fn pictures(&self) -> usize {
        self.screen().shown.len()
    }

    /// Waits until `wanted` is true of what it has shown. As long as it shows pictures, it has time.
    ///
    /// # Panics
    /// The picture stands still.
    async fn shows(&self, what: &str, wanted: impl Fn(&[Option<u32>]) -> bool) {
        loop {
            let count = self.pictures();
            let come = wait::try_until(STANDS_STILL, || async {
                let shown = &self.screen().shown;
                wanted(shown).then_some(true).or_else(|| (shown.len() > count).then_some(false))
            });
            match come.await {
                Some(true) => return,
                Some(false) => {}
                None => {
                    let shown = self.screen().shown.last().copied();
                    panic!(
                        "{} shows {shown:?} after {count} pictures and not {what}; it says:\n{}",
                        self.name,
                        self.said()
                    );
                }
            }
        }
    }

    /// Waits until it has shown so many pictures more.
    pub async fn shows_more(&self, pictures: usize) {
        let wanted = self.pictures() + pictures;
        self.shows(&format!("{wanted} pictures"), |shown| shown.len() >= wanted).await;
    }

    /// Waits until it has shown the picture of that number or a later one, after its first `seen` pictures.
    pub async fn shows_from(&self, number: u32, seen: usize, recording: &Recording) {
        let there = |shown: &[Option<u32>]| {
            shown
                .iter()
                .skip(seen)
                .flatten()
                .any(|one| ahead(number, *one, recording) < recording.frames() / 2)
        };
        self.shows(&format!("number {number}"), there).await;
    }

    /// # Panics
    /// It stopped by itself.
    #[must_use]
    pub fn stop(mut self) -> Watched {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "{} ended by itself: {ended:?}\n{}", self.name, self.said());
        let screen = std::mem::take(&mut *self.screen());
        // A desktop, a bus and a GPU are missed before the first picture; ffplay looks for none.
        let before = if self.name == VLC { screen.said_before } else { 0 };
        let complaints = self.said().get(before..).unwrap_or_default().to_owned();
        Watched { name: self.name, shown: screen.shown, complaints }
    }
}

impl Watched {
    /// Every picture once, in order, and not a word. Only where VLC says that it ran dry, as it does on a machine that is too
    /// slow, may pictures be missing from there on: it throws away what it has, and shows what it can make of the rest.
    ///
    /// # Panics
    /// It is not so.
    pub fn assert_whole(&self, recording: &Recording) {
        self.assert_goes_on(recording, 1);
    }

    /// The same of a player that may leave something out when it is late.
    ///
    /// # Panics
    /// A picture came twice, or the player complained.
    pub fn assert_in_order(&self, recording: &Recording) {
        self.assert_goes_on(recording, recording.frames() / 2);
    }

    /// From each picture to the next there are `most` at most.
    fn assert_goes_on(&self, recording: &Recording, most: u32) {
        let Self { name, shown, complaints } = self;
        let dry = complaints.lines().position(|line| line.contains("PCR  is called too late"));
        let before: Vec<_> = complaints.lines().take(dry.unwrap_or(usize::MAX)).collect();
        assert!(before.is_empty(), "{name} says {before:?}");
        let (numbers, most, back) = if dry.is_some() {
            // It shows a picture again, or one that is late, where it finds its way.
            let readable = shown.iter().filter(|one| one.is_some()).copied().collect();
            (readable, recording.frames() / 2, RAGGED as u32)
        } else {
            (shown.clone(), most, 0)
        };
        let follows = |pair: &&[Option<u32>]| {
            let (Some(one), Some(next)) = (pair[0], pair[1]) else { return false };
            (1..=most).contains(&ahead(one, next, recording)) || ahead(next, one, recording) <= back
        };
        let breaks: Vec<_> = numbers.windows(2).filter(|pair| !follows(pair)).collect();
        assert!(breaks.is_empty(), "{name} shows {breaks:?} among {} pictures", numbers.len());
    }
}

/// How many pictures `to` is after `from`, round the circle.
fn ahead(from: u32, to: u32, recording: &Recording) -> u32 {
    (to + recording.frames() - from) % recording.frames()
}

/// Where a reader puts what it sees.
struct Sink {
    screen: Arc<Mutex<Screen>>,
    log: PathBuf,
}

impl Sink {
    fn shows(&self, number: Option<u32>) {
        let mut screen = self.screen.lock().unwrap_or_else(PoisonError::into_inner);
        if screen.shown.is_empty() {
            screen.said_before = std::fs::metadata(&self.log).map_or(0, |log| log.len() as usize);
        }
        // A window is drawn again for its own reasons.
        if number.is_none() || screen.shown.last() != Some(&number) {
            screen.shown.push(number);
        }
    }
}

fn program(name: &str, privileges: &[&str]) -> Command {
    let mut command = Command::new(binaries::system("setpriv"));
    command
        .args(["--pdeathsig", "KILL"])
        .args(privileges)
        .arg("--")
        .arg(binaries::system(name))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0);
    command
}

/// The middles of the boxes that hold the number, of a picture whose brightness at (x, y) is `luma`.
fn read_number((width, height): (usize, usize), luma: impl Fn(usize, usize) -> u8) -> Option<u32> {
    let middle = |index: usize, size: usize| (2 * index + 1) * size / 16;
    let grid: Vec<u8> = (0..32).map(|cell| luma(middle(cell % 8, width), middle(cell / 8, height))).collect();
    number(&grid)
}

async fn read_window(folder: &Path, sink: &Sink) -> io::Result<()> {
    for picture in 1.. {
        let path = folder.join(format!("SDL_window1-{picture:08}.bmp"));
        let bytes = loop {
            match tokio::fs::read(&path).await {
                Ok(bytes) if is_complete(&bytes) => break bytes,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK).await;
        };
        sink.shows(bitmap(&bytes));
        tokio::fs::remove_file(&path).await?;
    }
    Ok(())
}

fn word(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().unwrap()) as usize)
}

/// SDL writes the size last.
fn is_complete(bitmap: &[u8]) -> bool {
    let size = word(bitmap, 2);
    size > 0 && bitmap.len() >= size
}

/// The number in a BMP of 24 bits, bottom up.
fn bitmap(bytes: &[u8]) -> Option<u32> {
    let (pixels, width, height) = (word(bytes, 10), word(bytes, 18), word(bytes, 22));
    let line = (width * 3).next_multiple_of(4);
    read_number((width, height), |x, y| bytes[pixels + (height - 1 - y) * line + x * 3 + 1])
}

/// Reads YUV4MPEG2, which may begin anew at any time.
async fn read_display(pipe: pipe::Receiver, sink: &Sink) -> io::Result<()> {
    let mut display = BufReader::with_capacity(1 << 20, pipe);
    let (mut line, mut picture) = (String::new(), Vec::new());
    let mut size = (0, 0);
    loop {
        line.clear();
        display.read_line(&mut line).await?;
        if line.starts_with("YUV4MPEG2 ") {
            let side =
                |name: char| line.split_whitespace().find_map(|word| word.strip_prefix(name)?.parse().ok());
            size = side('W').zip(side('H')).ok_or_else(|| io::Error::other(line.clone()))?;
            continue;
        }
        if line != "FRAME\n" {
            return Err(io::Error::other(line));
        }
        let (width, height): (usize, usize) = size;
        picture.resize(width * height + 2 * (width.div_ceil(2) * height.div_ceil(2)), 0);
        display.read_exact(&mut picture).await?;
        sink.shows(read_number(size, |x, y| picture[y * width + x]));
    }
}
