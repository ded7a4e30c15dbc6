#!/usr/bin/env bash
# dvc 3.67.1: a damaged object on a remote is pulled and used as if it were whole, and a push does not mend it.
#
# Behaviour: an object of a remote that was cut off (an upload that ended half-way, a full disk) lies under the hash of the
#   whole. `dvc pull` in another clone takes it, lays it out and ends with 0; `dvc status` there calls the data up to
#   date. `dvc push` from where the whole is says "Everything is up to date". With `verify = true` in the remote's
#   settings `dvc pull` fails instead; the push still mends nothing.
# Expected: an object that is not what its hash says is refused, or at least sent again.
# Why it surprises: the hash is the object's name, so one takes it for checked.
set -euo pipefail
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check dvc==3.67.1 || { echo "could not install"; exit 2; }
export PATH="$work/venv/bin:$PATH" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site"
mkdir "$work/here" "$work/there"
cd "$work/here"
dvc init --quiet --no-scm
dvc remote add --quiet --default hand "$work/remote"
seq 100000 > rows.txt
dvc add --quiet rows.txt
dvc push --quiet
cp -r .dvc rows.txt.dvc "$work/there"
rm -rf "$work/there/.dvc/cache" "$work/there/.dvc/tmp"
object=$(find "$work/remote/files" -type f)
chmod u+w "$object"
truncate --size 1000 "$object"
chmod a-w "$object"
cd "$work/there"
pulled=0; dvc pull --quiet || pulled=$?
bytes=$(stat --format %s rows.txt)
said=$(dvc status)
cd "$work/here"
pushed=$(dvc push 2>&1)
cd "$work/there"
rm -rf .dvc/cache rows.txt
dvc config --quiet 'remote.hand.verify' true
verified=0; dvc pull --quiet 2> /dev/null || verified=$?
echo "pull of a cut-off object: exit code $pulled, $bytes bytes, status: $said"
echo "push from where it is whole: $pushed; $(stat --format %s "$object") bytes there"
echo "pull with verify: exit code $verified"
[ "$pulled" = 0 ] && [ "$bytes" = 1000 ] && [ "$verified" != 0 ] && [ "$(stat --format %s "$object" 2> /dev/null)" = 1000 ] \
  && { echo "as described"; exit 0; }
echo "this has changed"
exit 1
