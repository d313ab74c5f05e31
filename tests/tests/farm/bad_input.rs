//! What cannot work ends with the right exit code, a message that names file and reason, one attempt, and nothing left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use common::api::JobState;
use e2e::{
    Farm, WorkerSpec,
    api::attempts,
    clip,
    ctl::{Desk, Outcome},
    daemon::exit_code,
    web::{Behaviour, Web},
};

const FAILED: i32 = 1;
const INVALID: i32 = 2;
const UNWRITABLE: i32 = 4;

/// Where the work is done.
enum Place {
    /// Inside `ffmpegctl`.
    Here(Desk),
    Farm(Box<Farm>, Desk),
}

impl Place {
    async fn both() -> [Self; 2] {
        let mut desk = Desk::new();
        desk.env.push(("TVARR_SOURCE_STALL_TIMEOUT".into(), "1s".into()));
        let farm = Farm::builder()
            .worker(WorkerSpec::new("alone").env("TVARR_SOURCE_STALL_TIMEOUT", "1s"))
            .start()
            .await;
        let at_farm = Desk::at(&farm.api.base);
        [Self::Here(desk), Self::Farm(Box::new(farm), at_farm)]
    }

    fn desk(&self) -> &Desk {
        match self {
            Self::Here(desk) | Self::Farm(_, desk) => desk,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Here(_) => "here",
            Self::Farm(..) => "on the farm",
        }
    }

    async fn transcode(&self, input: &str, output: &str, preset: &str) -> Outcome {
        self.desk().run(&["transcode", input, "-o", output, "--preset", preset]).await
    }

    /// One attempt at most for each job, whatever it died of.
    async fn tried_once(&self) {
        if let Self::Farm(farm, _) = self {
            for job in farm.api.jobs("limit=500").await.items {
                let view = farm.api.job(job.id).await;
                assert_eq!(view.summary.state, JobState::Failed, "{view:#?}");
                assert!(attempts(&view).count() <= 1, "{view:#?}");
            }
            farm.no_ffmpeg().await;
        }
    }

    async fn close(self) {
        if let Self::Farm(farm, desk) = self {
            drop(desk);
            farm.stop().await;
        }
    }
}

fn expect(place: &Place, case: &str, outcome: &Outcome, codes: &[i32], words: &[&str]) {
    let told = format!("{}\n{}", outcome.stderr, outcome.stdout).to_lowercase();
    let name = place.name();
    assert!(
        codes.contains(&outcome.code),
        "{case} {name}: exit code {} instead of {codes:?}\n{told}",
        outcome.code
    );
    for word in words {
        let found = word.split('|').any(|either| told.contains(&either.to_lowercase()));
        assert!(found, "{case} {name}: the message does not say {word:?}\n{told}");
    }
    assert!(!told.contains("panicked"), "{case} {name}: {told}");
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[tokio::test]
async fn broken_files() {
    for place in Place::both().await {
        let desk = place.desk();
        let zero = desk.file("zero.mp4", b"");
        let diary = desk.file("diary.mp4", &b"Dear diary, today no film was shot.\n".repeat(50));
        let table: [(PathBuf, &[&str]); 3] = [
            (zero, &["zero.mp4", "empty|zero bytes|0 bytes"]),
            (diary, &["diary.mp4", "not|no"]),
            (clip("no-moov.mp4"), &["no-moov.mp4", "moov"]),
        ];
        for (input, words) in table {
            let case = text(&input);
            let outcome = place.transcode(&case, "out.mp4", "h264").await;
            expect(&place, &case, &outcome, &[INVALID], words);
        }
        place.tried_once().await;
        place.desk().left_nothing_but(&["diary.mp4", "zero.mp4"]).await;
        place.close().await;
    }
}

#[tokio::test]
async fn what_is_no_file() {
    for place in Place::both().await {
        let folder = place.desk().work().join("folder");
        fs::create_dir(&folder).unwrap();
        let outcome = place.transcode("folder", "out.mp4", "h264").await;
        expect(&place, "a directory", &outcome, &[INVALID], &["folder", "directory|folder"]);
        let outcome = place.transcode("missing.mp4", "out.mp4", "h264").await;
        expect(
            &place,
            "a missing file",
            &outcome,
            &[INVALID],
            &["missing.mp4", "no such file|does not exist|not there|not found"],
        );
        place.tried_once().await;
        place.desk().left_nothing_but(&[]).await;
        place.close().await;
    }
}

#[tokio::test]
async fn unknown_words() {
    for place in Place::both().await {
        let input = text(&clip("bikes-2s.mp4"));
        let outcome = place.transcode(&input, "out.mp4", "h256").await;
        expect(&place, "an unknown preset", &outcome, &[INVALID], &["h256", "preset", "h264"]);
        place.tried_once().await;
        place.desk().left_nothing_but(&[]).await;
        place.close().await;
    }
    let desk = Desk::new();
    let folder = desk.work().join("presets");
    fs::create_dir(&folder).unwrap();
    let spec = "name = \"mine\"\ndescription = \"x\"\n[spec]\nkind = \"file\"\ncontainer = \"mp4\"\n[spec.video]\ncodec = \"h999\"\nrate = \"profile\"\n";
    fs::write(folder.join("mine.toml"), spec).unwrap();
    let input = text(&clip("bikes-2s.mp4"));
    let args = ["transcode", &input, "-o", "out.mp4", "--preset", "mine", "--presets-dir", "presets"];
    let outcome = desk.run(&args).await;
    expect(&Place::Here(Desk::new()), "an unknown codec", &outcome, &[INVALID], &["mine.toml", "h999"]);
    desk.left_nothing_but(&["presets/mine.toml"]).await;
}

#[tokio::test]
async fn sources_that_fail() {
    let film = fs::read(clip("bigbuckbunny.mp4")).unwrap();
    let front = fs::read(clip("faststart.mp4")).unwrap();
    let half = front.len() / 2;
    let web = Web::serve([
        ("/gone.mp4", Behaviour::Status(404)),
        ("/stalls.mp4", Behaviour::Stall(front.clone(), half)),
        ("/hangs-up.mp4", Behaviour::HangUp(front, half)),
        ("/silent.mp4", Behaviour::Stall(film, 0)),
    ])
    .await;
    let table: [(&str, &[&str]); 4] = [
        ("/gone.mp4", &["gone.mp4", "404"]),
        ("/stalls.mp4", &["stalls.mp4", "stall|no data|nothing came|timed out|silent"]),
        ("/hangs-up.mp4", &["hangs-up.mp4", "closed|ended|hung up|cut|early|reset|truncated"]),
        ("/silent.mp4", &["silent.mp4", "stall|no data|nothing came|timed out|silent"]),
    ];
    for place in Place::both().await {
        // Side by side: what waits for a silent server need not wait for the others.
        let all = table.iter().map(|(path, _)| {
            let (place, url) = (&place, web.url(path));
            async move { place.transcode(&url, &path[1..], "h264").await }
        });
        for ((path, words), outcome) in table.iter().zip(futures::future::join_all(all).await) {
            expect(&place, path, &outcome, &[FAILED, INVALID], words);
        }
        let refused = "http://127.0.0.1:1/film.mp4";
        let outcome = place.transcode(refused, "out.mp4", "h264").await;
        expect(&place, refused, &outcome, &[FAILED, INVALID], &["127.0.0.1:1", "refused|connect"]);
        if let Place::Farm(farm, _) = &place {
            let jobs = farm.api.jobs("limit=500").await.items;
            let gone = jobs.iter().find(|job| job.input.contains("gone.mp4")).unwrap();
            assert_eq!(attempts(&farm.api.job(gone.id).await).count(), 1, "a 404 stays a 404");
            farm.no_ffmpeg().await;
        }
        place.desk().left_nothing_but(&[]).await;
        place.close().await;
    }
}

#[tokio::test]
async fn a_farm_does_not_read_what_only_its_workers_reach() {
    let film = fs::read(clip("faststart.mp4")).unwrap();
    let web = Web::serve([("/inside.mp4", Behaviour::Ranges(film))]).await;
    let worker = WorkerSpec::new("alone").env("TVARR_SOURCE_ALLOW", "10.0.0.0/8");
    let farm = Farm::builder().worker(worker).start().await;
    let desk = Desk::at(&farm.api.base);
    let place = Place::Farm(Box::new(farm), desk);
    let url = web.url("/inside.mp4");
    for url in [url.clone(), url.replace("127.0.0.1", "localhost")] {
        let outcome = place.transcode(&url, "out.mp4", "proxy").await;
        let words = ["inside.mp4", "loopback", "tvarr_source_allow"];
        expect(&place, &url, &outcome, &[FAILED, INVALID], &words);
    }
    assert_eq!(web.requests(), 0, "it was asked");
    place.tried_once().await;
    place.desk().left_nothing_but(&[]).await;
    place.close().await;
}

#[tokio::test]
async fn a_moov_at_the_end_behind_a_server_without_ranges() {
    let film = fs::read(clip("bikes-2s.mp4")).unwrap();
    let web = Web::serve([("/tail.mp4", Behaviour::NoRanges(film))]).await;
    for place in Place::both().await {
        let outcome = place.transcode(&web.url("/tail.mp4"), "out.mp4", "proxy").await;
        // Either the file is fetched as a whole, or it is said clearly why not.
        if outcome.code == 0 {
            assert_eq!(e2e::media::Media::read(&place.desk().work().join("out.mp4")).video().packets(), 52);
            place.desk().left_nothing_but(&["out.mp4"]).await;
        } else {
            expect(&place, "moov at the end", &outcome, &[FAILED, INVALID], &["tail.mp4", "range"]);
            place.tried_once().await;
            place.desk().left_nothing_but(&[]).await;
        }
        place.close().await;
    }
}

#[tokio::test]
async fn places_that_cannot_be_written() {
    for place in Place::both().await {
        place.desk().file("in-the-way", b"a file where a folder should be");
        let input = text(&clip("bikes-2s.mp4"));
        for (output, words) in [
            ("in-the-way/out.mp4", ["in-the-way", "not a directory|is a file|cannot"]),
            ("/proc/nowhere/out.mp4", ["/proc/nowhere", "cannot|no such|denied"]),
        ] {
            let outcome = place.transcode(&input, output, "proxy").await;
            expect(&place, output, &outcome, &[UNWRITABLE, INVALID], &words);
        }
        if let Place::Farm(farm, _) = &place {
            farm.no_ffmpeg().await;
        }
        place.desk().left_nothing_but(&["in-the-way"]).await;
        place.close().await;
    }
}

/// A file system of a few hundred kilobytes, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this may not mount anything.
    fn mount(folder: &Path, kilobytes: u32) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let options = format!("size={kilobytes}k");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "e2e"])
            .arg(folder)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_under_the_results_or_the_work() {
    let desk = Desk::new();
    let Some(disk) = SmallDisk::mount(&desk.work().join("disk"), 200) else {
        eprintln!("passed over: this user may not mount a file system");
        return;
    };
    let input = text(&clip("bigbuckbunny.mp4"));
    for args in [
        ["transcode", &input, "-o", "disk/out.mov", "--preset", "archive-prores", "--temp-dir", "/tmp"],
        ["transcode", &input, "-o", "out.mov", "--preset", "archive-prores", "--temp-dir", "disk"],
    ] {
        let outcome = desk.run(&args).await;
        let place = Place::Here(Desk::new());
        expect(&place, "a full disk", &outcome, &[UNWRITABLE], &["bigbuckbunny.mp4|out.mov", "space"]);
        desk.left_nothing_but(&[]).await;
    }
    drop(disk);
}

#[tokio::test]
async fn a_worker_without_room_gives_the_job_to_one_with() {
    let mut farm = Farm::builder().start().await;
    let Some(disk) = SmallDisk::mount(&farm.scratch("narrow"), 200) else {
        eprintln!("passed over: this user may not mount a file system");
        farm.stop().await;
        return;
    };
    farm.start_worker(WorkerSpec::new("narrow")).await;
    let job = farm.submit(&clip("bigbuckbunny.mp4"), "archive-prores").await;
    farm.start_worker(WorkerSpec::new("wide")).await;
    let view = farm.succeeded(job).await;
    let tried: Vec<_> = attempts(&view).map(|attempt| attempt.worker.name.as_str()).collect();
    assert_eq!(tried.last(), Some(&"wide"), "{view:#?}");
    let mut narrow = farm.take_worker("narrow");
    narrow.signal(rustix::process::Signal::TERM);
    assert_eq!(exit_code(narrow.exited(e2e::wait::seconds(15)).await), 0);
    drop(disk);
    farm.stop().await;
}
