#!/bin/sh
# Synthesises speech.wav, which the demo and the tests play. Needs espeak-ng; run once, the result is committed.
set -e
cd "$(dirname "$0")"
espeak-ng -v en-us -s 150 -w speech.wav \
    "Hello! I am an avatar in your own room. Every second that you see of me is an event in a log that you can replay."
