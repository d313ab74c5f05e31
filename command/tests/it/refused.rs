//! Every known way out of a command, by name: what is refused, what the error is about, and where it points.

use command::{Command, Error};

fn refuse(command: &str) -> Error {
    match Command::parse(command) {
        Ok(command) => panic!("{command} was accepted"),
        Err(error) => error,
    }
}

/// A test for each way out: its name, and commands with the name that the error must have.
macro_rules! refused {
    ($($test:ident: $($name:literal in $command:literal),+;)+) => {
        $(#[test]
        fn $test() {
            $(
                let error = refuse($command);
                assert_eq!(error.name, $name, "{error}");
                assert!(!error.problem.is_empty() && !error.remedy.is_empty(), "{error}");
                assert!(error.offset <= $command.len(), "{error}");
            )+
        })+
    };
}

refused! {
    movie: "movie" in "-vf movie=/etc/passwd {{out:o.mp4}}", "movie" in "-filter_complex movie=filename=a.mp4[a];[0:v][a]overlay {{out:o.mp4}}",
        "movie" in "-vf \"movie=logo.png [wm]; [in][wm] overlay=10:10 [out]\" {{out:o.mp4}}";
    amovie: "amovie" in "-filter_complex amovie=a.mp3 {{out:o.mp4}}";
    movie_behind_escapes: "movie" in r#"-vf "'movie'=x" {{out:o.mp4}}"#, "movie" in r#"-vf "mo\vie=x" {{out:o.mp4}}"#, "movie@a" in "-vf movie@a=x {{out:o.mp4}}";
    subtitles: "subtitles" in "-vf subtitles=a.srt {{out:o.mp4}}";
    ass: "ass" in "-vf ass=a.ass {{out:o.mp4}}";
    drawtext_textfile: "drawtext textfile" in "-vf drawtext=textfile=/etc/passwd {{out:o.mp4}}",
        "drawtext textfile" in r#"-vf "drawtext=text=a:textfile=/etc/passwd" {{out:o.mp4}}"#,
        "drawtext fontfile" in "-vf drawtext=/etc/passwd {{out:o.mp4}}";
    drawtext_fontfile: "drawtext fontfile" in "-vf drawtext=fontfile=/a.ttf:text=a {{out:o.mp4}}", "drawtext font" in r#"-vf "drawtext=font='Sans\:file=/etc/passwd':text=a" {{out:o.mp4}}"#;
    drawtext_expansion: "drawtext expansion" in "-vf drawtext=text=a:expansion=normal {{out:o.mp4}}", "drawtext expansion" in "-vf drawtext=text=a:expansion=strftime {{out:o.mp4}}",
        "drawtext text" in r#"-vf "drawtext=text='%{localtime}'" {{out:o.mp4}}"#, "drawtext text" in r#"-vf "drawtext=text='%{metadata\:title}'" {{out:o.mp4}}"#,
        "drawtext fontcolor_expr" in "-vf drawtext=text=a:fontcolor_expr=red {{out:o.mp4}}", "drawtext text" in r#"-vf "drawtext=text='a\\\\n'" {{out:o.mp4}}"#;
    options_of_filters_from_files: "drawtext /text" in "-vf drawtext=/text=/etc/passwd {{out:o.mp4}}", "geq /lum" in "-vf geq=/lum=/etc/passwd {{out:o.mp4}}";
    sendcmd: "sendcmd" in "-vf sendcmd=f=a.txt {{out:o.mp4}}", "asendcmd" in "-af asendcmd=c=0.0 {{out:o.mp4}}";
    metadata_print_to_file: "metadata" in "-vf metadata=print:file=a.txt {{out:o.mp4}}", "ametadata" in "-af ametadata=mode=print:file=- {{out:o.mp4}}";
    psnr_stats_file: "psnr" in "-filter_complex [0:v][0:v]psnr=stats_file=a {{out:o.mp4}}";
    ssim_stats_file: "ssim" in "-filter_complex [0:v][0:v]ssim=stats_file=a {{out:o.mp4}}";
    libvmaf_log_path: "libvmaf" in "-filter_complex [0:v][0:v]libvmaf=log_path=a {{out:o.mp4}}";
    vidstab: "vidstabdetect" in "-vf vidstabdetect=result=a {{out:o.mp4}}", "vidstabtransform" in "-vf vidstabtransform=input=a {{out:o.mp4}}";
    signature: "signature" in "-vf signature=filename=a {{out:o.mp4}}";
    loaded_code: "ladspa" in "-af ladspa=f=a {{out:o.mp4}}", "lv2" in "-af lv2=p=a {{out:o.mp4}}", "frei0r" in "-vf frei0r=a {{out:o.mp4}}";
    sockets: "zmq" in "-vf zmq {{out:o.mp4}}", "azmq" in "-af azmq=bind_address=tcp {{out:o.mp4}}";
    lut3d: "lut3d" in "-vf lut3d=file=a.cube {{out:o.mp4}}", "lut1d" in "-vf lut1d=a.cube {{out:o.mp4}}";
    curves_psfile: "curves psfile" in "-vf curves=psfile=a {{out:o.mp4}}", "curves plot" in "-vf curves=plot=a {{out:o.mp4}}";
    palette_debug_file: "paletteuse debug_kdtree" in "-filter_complex [0:v][0:v]paletteuse=debug_kdtree=a {{out:o.gif}}";
    deshake_file: "deshake filename" in "-vf deshake=filename=a {{out:o.mp4}}";
    other_inputs: "-i" in "-i /etc/passwd {{out:o.mp4}}", "-i" in "-i {{in}} -i http://x/a.mp4 {{out:o.mp4}}", "-i" in "-i {{in}}.mp4 {{out:o.mp4}}",
        "-i" in "-i concat:{{in}} {{out:o.mp4}}", "-i" in "-i {{in_0}} {{out:o.mp4}}", "-i" in "-i {{in_99}} {{out:o.mp4}}", "-i" in "-i {{in_3}} {{out:o.mp4}}", "-i" in "-i", "-i:v" in "-i:v {{in}} {{out:o.mp4}}";
    input_formats: "-f" in "-f lavfi -i {{in}} {{out:o.mp4}}", "-f" in "-f concat -i {{in}} {{out:o.mp4}}", "-safe" in "-safe 0 -i {{in}} {{out:o.mp4}}", "-pattern_type" in "-pattern_type glob -i {{in}} {{out:o.mp4}}";
    output_formats: "-f" in "-f tee {{out:o.mp4}}", "-f" in "-f lavfi {{out:o.mp4}}", "-f" in "-f rtp {{out:o.mp4}}", "-f" in "-f fifo {{out:o.mp4}}", "-f" in "-f null {{out:o.mp4}}", "o.mp4" in "-f mp3 {{out:o.mp4}}";
    attachments: "-attach" in "-attach a.ttf {{out:o.mkv}}", "-dump_attachment:t" in "-dump_attachment:t a -i {{in}} {{out:o.mkv}}";
    progress_and_statistics: "-progress" in "-progress http://x {{out:o.mp4}}", "-vstats" in "-vstats {{out:o.mp4}}", "-vstats_file" in "-vstats_file a {{out:o.mp4}}", "-report" in "-report {{out:o.mp4}}";
    two_passes: "-pass" in "-pass 1 {{out:o.mp4}}", "-passlogfile" in "-passlogfile a {{out:o.mp4}}", "-pass:v:0" in "-pass:v:0 2 {{out:o.mp4}}";
    files_of_options: "-sdp_file" in "-sdp_file a {{out:o.mp4}}", "-filter_script:v" in "-filter_script:v a {{out:o.mp4}}", "-filter_complex_script" in "-filter_complex_script a {{out:o.mp4}}",
        "-/filter_complex" in "-/filter_complex a {{out:o.mp4}}", "-/i" in "-/i a {{out:o.mp4}}", "-fpre" in "-fpre a {{out:o.mp4}}", "-vpre" in "-vpre a {{out:o.mp4}}";
    segment_list: "-segment_list" in "-f segment -segment_list a.m3u8 {{out:o%d.mp4}}", "-segment_header_filename" in "-f segment -segment_header_filename a {{out:o%d.mp4}}";
    hls_keys: "-hls_key_info_file" in "-hls_key_info_file a {{out:o.m3u8}}", "-hls_enc_key_url" in "-hls_enc_key_url file:///etc/passwd {{out:o.m3u8}}", "-hls_base_url" in "-hls_base_url http://x {{out:o.m3u8}}";
    hls_paths: "-hls_segment_filename" in "-hls_segment_filename /tmp/a_%d.ts {{out:o.m3u8}}", "-hls_segment_filename" in "-hls_segment_filename ../a_%d.ts {{out:o.m3u8}}",
        "-hls_segment_filename" in "-hls_segment_filename http:a_%d.ts {{out:o.m3u8}}", "-hls_fmp4_init_filename" in "-hls_fmp4_init_filename a/init.mp4 {{out:o.m3u8}}",
        "-master_pl_name" in "-master_pl_name ../m.m3u8 {{out:o.m3u8}}", "-method" in "-method PUT {{out:o.m3u8}}", "-strftime" in "-strftime 1 {{out:o.m3u8}}", "-hls_flags" in "-hls_flags append_list {{out:o.m3u8}}";
    devices: "-init_hw_device" in "-init_hw_device vaapi=/dev/dri/renderD128 {{out:o.mp4}}", "-vaapi_device" in "-vaapi_device /dev/x {{out:o.mp4}}", "-hwaccel" in "-hwaccel cuda -i {{in}} {{out:o.mp4}}",
        "hwupload" in "-vf hwupload {{out:o.mp4}}", "-gpu" in "-c:v h264_nvenc -gpu 1 {{out:o.mp4}}";
    x264_files: "-x264-params" in "-c:v libx264 -x264-params stats=a {{out:o.mp4}}", "-x264-params" in "-x264-params crf=1:dump-yuv=a {{out:o.mp4}}", "-x264-params" in "-x264-params qpfile=a {{out:o.mp4}}",
        "-x264-params" in "-x264-params cqmfile=a {{out:o.mp4}}", "-x264opts" in "-x264opts stats=a {{out:o.mp4}}", "-x264-params" in r"-x264-params 'crf=1\:stats=a' {{out:o.mp4}}", "-stats:v" in "-c:v libx264 -stats:v a {{out:o.mp4}}";
    x265_files: "-x265-params" in "-c:v libx265 -x265-params csv=a {{out:o.mp4}}", "-x265-params" in "-c:v libx265 -x265-params analysis-save=a {{out:o.mp4}}", "-x265-params" in "-c:v libx265 -x265-params recon=a {{out:o.mp4}}",
        "-x265-params" in "-c:v libx265 -x265-params zonefile=a {{out:o.mp4}}", "-x265-params" in "-c:v libx265 -x265-params scaling-list=a {{out:o.mp4}}", "-x265-params" in "-c:v libx265 -x265-params dhdr10-info=a {{out:o.mp4}}";
    svtav1_and_aom_files: "-svtav1-params" in "-c:v libsvtav1 -svtav1-params stats=a {{out:o.mp4}}", "-svtav1-params" in "-c:v libsvtav1 -svtav1-params fgs-table=a {{out:o.mp4}}", "-aom-params" in "-c:v libaom-av1 -aom-params film-grain-table=a {{out:o.mp4}}";
    protocols: "-protocol_whitelist" in "-protocol_whitelist file,http -i {{in}} {{out:o.mp4}}", "-http_proxy" in "-http_proxy http://x -i {{in}} {{out:o.mp4}}", "-headers" in "-headers a -i {{in}} {{out:o.mp4}}", "-format_whitelist" in "-format_whitelist hls -i {{in}} {{out:o.mp4}}";
    output_paths: "{{out:/tmp/o.mp4}}" in "{{out:/tmp/o.mp4}}", "{{out:../o.mp4}}" in "{{out:../o.mp4}}", "{{out:file:o.mp4}}" in "{{out:file:o.mp4}}", "{{out:http://x/o.mp4}}" in "{{out:http://x/o.mp4}}",
        "{{out:-o.mp4}}" in "{{out:-o.mp4}}", "{{out:pipe:1.mp4}}" in "{{out:pipe:1.mp4}}", "{{out:o.exe}}" in "{{out:o.exe}}", "{{out:}}" in "{{out:}}", "{{out:.mp4}}" in "{{out:.mp4}}", "{{out:o%20.mp4}}" in "{{out:o%20.mp4}}";
    stray_outputs: "o.mp4" in "-i {{in}} o.mp4", "/tmp/o.mp4" in "-i {{in}} /tmp/o.mp4", "-" in "-i {{in}} -", "pipe:1" in "-i {{in}} pipe:1", "{{outo.mp4}}" in "{{outo.mp4}}", "{{in}}" in "{{in}} {{out:o.mp4}}", "--" in "-- {{out:o.mp4}}";
    outputs_with_one_name: "o.mp4" in "{{out:o.mp4}} {{out:o.mp4}}", "O.mp4" in "{{out:o.mp4}} {{out:O.mp4}}", "o_1.ts" in "{{out:o.m3u8}} {{out:o_1.ts}}", "a1.jpg" in "{{out:a%d.jpg}} {{out:a1.jpg}}",
        "b.m3u8" in "-hls_segment_filename s%d.ts {{out:a.m3u8}} -hls_segment_filename s%d.ts {{out:b.m3u8}}", "chunk-stream0.m4a" in "{{out:a.mpd}} {{out:chunk-stream0.m4a}}";
    options_given_twice: "-crf" in "-crf 20 -crf 30 {{out:o.mp4}}", "-vcodec" in "-c:v libx264 -vcodec libx265 {{out:o.mp4}}", "-filter:v" in "-vf hflip -filter:v vflip {{out:o.mp4}}", "-b:v" in "-b:v:0 1M -b:v 2M {{out:o.mp4}}",
        "-c" in "-c:v libx264 -c copy {{out:o.mkv}}", "-an" in "-an -an {{out:o.mp4}}", "-metadata" in "-metadata a=1 -metadata a=2 {{out:o.mp4}}", "-ss" in "-ss 1 -ss 2 -i {{in}} {{out:o.mp4}}", "scale w" in "-vf scale=w=1:width=2 {{out:o.mp4}}", "-f" in "-f mp4 -f mp4 {{out:o.mp4}}";
    quotes: "-metadata" in r#"-metadata "title=it's" {{out:o.mp4}}"#, "-metadata" in r#"-metadata title=a\"b {{out:o.mp4}}"#, "the command" in "-metadata title='a {{out:o.mp4}}", "the command" in "-metadata title=\"a {{out:o.mp4}}", "-vf" in r#"-vf "scale='1" {{out:o.mp4}}"#, "-crf" in r#"-crf \"20\" {{out:o.mp4}}"#, "-metadata" in "-metadata 'title=`id`' {{out:o.mp4}}";
    what_a_shell_expands: "the command" in "-metadata title=$HOME {{out:o.mp4}}", "the command" in "-metadata title=$(id) {{out:o.mp4}}", "the command" in "-metadata title=`id` {{out:o.mp4}}", "the command" in "-metadata \"title=${IFS}\" {{out:o.mp4}}";
    what_a_shell_runs: ";" in "-an ; rm -rf / {{out:o.mp4}}", "|" in "-an | sh {{out:o.mp4}}", "&&" in "-an && id {{out:o.mp4}}", ">" in "-an > /tmp/x {{out:o.mp4}}";
    newlines_and_controls: "the command" in "-an\n-y {{out:o.mp4}}", "the command" in "-metadata 'title=a\nb' {{out:o.mp4}}", "the command" in "-an\0 {{out:o.mp4}}", "the command" in "-an\r\n{{out:o.mp4}}", "the command" in "-an\t{{out:o.mp4}}", "the command" in "-metadata title=a\u{1b}[0m {{out:o.mp4}}", "the command" in "-metadata title=a\u{85}b {{out:o.mp4}}";
    full_width_digits: "-crf" in "-crf ２３ {{out:o.mp4}}", "-b:v" in "-b:v １M {{out:o.mp4}}", "scale w" in "-vf scale=１２８０:720 {{out:o.mp4}}", "-s" in "-s １２８０x７２０ {{out:o.mp4}}", "-map" in "-map ０:v {{out:o.mp4}}", "-ss" in "-ss １ {{out:o.mp4}}";
    minus_signs: "scale h" in "-vf scale=100:−2 {{out:o.mp4}}", "−crf" in "−crf 20 {{out:o.mp4}}", "-map" in "-map −0:s {{out:o.mp4}}", "-itsoffset" in "-itsoffset −1 -i {{in}} {{out:o.mp4}}", "–an" in "–an {{out:o.mp4}}";
    homoglyphs: "-c:v" in "-c:v libх264 {{out:o.mp4}}", "-сrf" in "-сrf 20 {{out:o.mp4}}", "ѕcale" in "-vf ѕcale=1:1 {{out:o.mp4}}", "-c:ν" in "-c:ν libx264 {{out:o.mp4}}", "{{out:о.mp4}}" in "{{out:о.mp4}}", "{{ｉn}}" in "-an {{ｉn}} {{out:o.mp4}}", "-preset" in "-preset ѕlow {{out:o.mp4}}", "-metadata" in "-metadata tіtle=a {{out:o.mp4}}";
    hidden_characters: "-metadata" in "-metadata title=a\u{202E}b {{out:o.mp4}}", "-metadata" in "-metadata title=a\u{200B}b {{out:o.mp4}}", "drawtext text" in "-vf drawtext=text=a\u{2066}b {{out:o.mp4}}";
    overflowing_numbers: "-crf" in "-crf 99999999999999999999 {{out:o.mp4}}", "-g" in "-g 4294967296 {{out:o.mp4}}", "-b:v" in "-b:v 99999999999G {{out:o.mp4}}", "-ss" in "-ss 99999999999999 {{out:o.mp4}}", "-t" in "-t 9999999:00:00 {{out:o.mp4}}", "-crf" in "-crf 1e400 {{out:o.mp4}}", "-crf" in "-crf nan {{out:o.mp4}}", "-crf" in "-crf 0x17 {{out:o.mp4}}", "-map" in "-map 0:v:99999999999 {{out:o.mp4}}", "scale w" in "-vf scale=99999999999999999999:1 {{out:o.mp4}}";
    absurd_sizes: "scale w" in "-vf scale=100000:100000 {{out:o.mp4}}", "scale w" in "-vf scale=iw*1000:-1 {{out:o.mp4}}", "scale w" in "-vf scale=2^20:1 {{out:o.mp4}}", "-s" in "-s 100000x100000 {{out:o.mp4}}", "-s" in "-s 16384x16384 {{out:o.mp4}}", "pad width" in "-vf pad=100000:100000 {{out:o.mp4}}", "-threads" in "-threads 10000 {{out:o.mp4}}", "-r" in "-r 1e9 {{out:o.mp4}}", "-r" in "-r 1000000000 {{out:o.mp4}}", "fps fps" in "-vf fps=1000000 {{out:o.mp4}}", "color size" in "-filter_complex color=s=99999x99999[v] -map [v] {{out:o.mp4}}", "split outputs" in "-filter_complex split=100000 {{out:o.mp4}}", "drawtext fontsize" in "-vf drawtext=text=a:fontsize=1000000 {{out:o.mp4}}", "zoompan d" in "-vf zoompan=d=10000000 {{out:o.mp4}}";
    endless_expressions: "select expr" in "-vf select='while(1,1)' {{out:o.mp4}}", "setpts expr" in r"-vf setpts=root(1\\,2) {{out:o.mp4}}", "geq lum_expr" in r"-vf geq=taylor(1\\,1) {{out:o.mp4}}", "-force_key_frames" in "-force_key_frames expr:print(t) {{out:o.mp4}}", "scale w" in "-vf scale=((((((((((((((((((((((((((((((((((((((((1)))))))))))))))))))))))))))))))))))))))):1 {{out:o.mp4}}";
}

#[test]
fn what_is_too_much_is_refused() {
    let long = format!("-metadata title={} {{{{out:o.mp4}}}}", "a".repeat(40_000));
    assert_eq!(refuse(&long).name, "the command");
    let filters = format!("-vf {}null {{{{out:o.mp4}}}}", "null,".repeat(200));
    assert_eq!(refuse(&filters).name, "-vf");
    let labels = format!("-vf {}null {{{{out:o.mp4}}}}", "[a]".repeat(100));
    assert_eq!(refuse(&labels).name, "-vf");
    let outputs: String = (0..17).map(|number| format!("{{{{out:o{number}.mp4}}}} ")).collect();
    assert_eq!(refuse(&outputs).name, "an output");
    let inputs = "-i {{in}} ".repeat(9) + "{{out:o.mp4}}";
    assert_eq!(refuse(&inputs).name, "an input");
    let args: Vec<String> = std::iter::repeat_n("-an".to_owned(), 2000).collect();
    assert_eq!(Command::parse_args(&args).unwrap_err().name, "the command");
}

#[test]
fn arguments_are_judged_like_text() {
    for (args, name) in [
        (vec!["-metadata", "title=a\nb", "{{out:o.mp4}}"], "the command"),
        (vec!["-metadata", "title=a\0b", "{{out:o.mp4}}"], "the command"),
        (vec!["-metadata", "title='a'", "{{out:o.mp4}}"], "-metadata"),
        (vec!["-crf", " 20", "{{out:o.mp4}}"], "-crf"),
        (vec!["-crf", "'20'", "{{out:o.mp4}}"], "-crf"),
        (vec!["-crf 20", "{{out:o.mp4}}"], "-crf 20"),
        (vec!["-vf", "movie=a", "{{out:o.mp4}}"], "movie"),
        (vec!["-i", "{{in}} ", "{{out:o.mp4}}"], "-i"),
        (vec!["", "{{out:o.mp4}}"], ""),
    ] {
        assert_eq!(Command::parse_args(&args).unwrap_err().name, name, "{args:?}");
    }
}

#[test]
fn errors_say_where_and_what_instead() {
    let error = refuse("-i {{in}} -c:v libx264 -prest slow {{out:o.mp4}}");
    assert_eq!((error.name.as_str(), error.argument, error.offset), ("-prest", 4, 23));
    assert_eq!(error.remedy, "did you mean preset?");

    let error = refuse("-i {{in}} -vf 'scale=1280:720, drwtext=text=a' {{out:o.mp4}}");
    assert_eq!((error.name.as_str(), error.argument, error.offset), ("drwtext", 3, 31));
    assert_eq!(error.remedy, "did you mean drawtext?");

    let error = refuse("-vf \"drawtext=text=a:textfile=/etc/passwd\" {{out:o.mp4}}");
    assert_eq!((error.name.as_str(), error.argument, error.offset), ("drawtext textfile", 1, 21));
    assert_eq!(error.problem, "this option of the filter is refused: it reads a file");

    let error = refuse("-crf 99 {{out:o.mp4}}");
    assert_eq!((error.name.as_str(), error.argument, error.offset), ("-crf", 1, 5));
    assert_eq!(
        error.to_string(),
        "-crf (argument 1, byte 5): '99' is not allowed; give a number from 0 to 63"
    );

    let error = refuse("-map 0:v -map [x] {{out:o.mp4}}");
    assert_eq!((error.name.as_str(), error.argument, error.offset), ("-map", 3, 14));

    let error = Command::parse_args(&["-preset", "slo", "{{out:o.mp4}}"]).unwrap_err();
    assert_eq!((error.argument, error.offset, error.remedy.as_str()), (1, 0, "did you mean slow?"));

    let error = refuse("-crf ２３ {{out:o.mp4}}");
    assert_eq!(error.problem, "it has the character '２' (U+FF12), which is not ASCII");
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (command, name) in [
        ("-c copy -vf scale=1:1 {{out:o.mp4}}", "-vf"),
        ("-c:v copy -crf 20 {{out:o.mp4}}", "-crf"),
        ("-c:v aac {{out:o.mp4}}", "-c:v"),
        ("-c libx264 {{out:o.mp4}}", "-c"),
        ("-hls_time 4 {{out:o.mp4}}", "-hls_time"),
        ("-movflags faststart {{out:o.mp3}}", "-movflags"),
        ("-map 1:v {{out:o.mp4}}", "-map"),
        ("-map [v] {{out:o.mp4}}", "-map"),
        ("-filter_complex [0:v]null[v] {{out:o.mp4}}", "-filter_complex"),
        ("-filter_complex [1:v]null[v] -map [v] {{out:o.mp4}}", "-filter_complex"),
        ("-filter_complex [0:v]split[a][a];[a]null[v] -map [v] {{out:o.mp4}}", "-filter_complex"),
        ("-filter_complex [0:v]null[v] -map [v] {{out:a.mp4}} -map [v] {{out:b.mp4}}", "-map"),
        ("-vf [0:v]null {{out:o.mp4}}", "-vf"),
        ("-vf [a]null {{out:o.mp4}}", "-filter:v"),
        ("-vn -an {{out:o.mp4}} -ss 1", "-ss"),
        ("{{out:o%d.mp4}}", "o%d.mp4"),
        ("-f segment {{out:o.mp4}}", "o.mp4"),
        ("{{out:o_%v.m3u8}}", "o_%v.m3u8"),
        ("-var_stream_map 'v:0 v:1' {{out:o.m3u8}}", "o.m3u8"),
        ("-var_stream_map 'v:0,name:a v:1,name:a' {{out:o_%v.m3u8}}", "o_%v.m3u8"),
        ("-var_stream_map 'v:0,name:1 v:1' {{out:o_%v.m3u8}}", "o_%v.m3u8"),
        ("-var_stream_map 'v:0,name:a v:1' {{out:o_%v.m3u8}} {{out:o_a.m3u8}}", "o_a.m3u8"),
        ("-vframes 1 -i {{in}} {{out:o.mp4}}", "-vframes"),
        ("-stream_loop 1 {{out:o.mp4}}", "-stream_loop"),
        ("-crf", "-crf"),
        ("-crf 20", "the output"),
        ("", "the output"),
    ] {
        assert_eq!(refuse(command).name, name, "{command}");
    }
}
