//! A command on its way to a worker: JSON that is read like any other arguments.

use command::Command;

use crate::corpus;

#[test]
fn what_is_written_is_read_again() {
    for case in corpus::cases() {
        let command = Command::parse(case.text).unwrap_or_else(|error| panic!("{}: {error}", case.text));
        let json = serde_json::to_string(&command).unwrap();
        assert_eq!(serde_json::from_str::<Command>(&json).unwrap(), command, "{json}");
        assert_eq!(Command::parse_args(&command.args()).unwrap(), command, "{command}");
    }
}

#[test]
fn json_is_no_way_around() {
    for json in [
        r#"{"args":["-i","/etc/passwd","{{out:o.mp4}}"]}"#,
        r#"{"args":["-i","{{in}}","-filter:v","movie=a","-f","mp4","{{out:o.mp4}}"]}"#,
        r#"{"args":["-i","{{in}}","-f","mp4","/tmp/o.mp4"]}"#,
        r#"{"args":["-i","{{in}}","-f","mp4","{{out:../o.mp4}}"]}"#,
        r#"{"args":["-i","{{in}}","-crf","20\n","-f","mp4","{{out:o.mp4}}"]}"#,
        r#"{"args":["-i","{{in}}","-report","{{out:o.mp4}}"]}"#,
        r#"{"args":[],"more":1}"#,
        r#"{"args":"-i {{in}} {{out:o.mp4}}"}"#,
        r#"{"globals":[],"inputs":[],"outputs":[]}"#,
        r#"{}"#,
    ] {
        assert!(serde_json::from_str::<Command>(json).is_err(), "{json}");
    }
    let error =
        serde_json::from_str::<Command>(r#"{"args":["-i","{{in}}","-report","{{out:o.mp4}}"]}"#).unwrap_err();
    assert!(error.to_string().contains("-report (argument 2"), "{error}");
}
