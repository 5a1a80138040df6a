#!/bin/sh
# Installs the independent programs that the interoperation tests drive (Debian packages).
# Where they cannot be installed, says in one line which tests are left out, and succeeds.
set -u
packages="chromium chromium-driver dcmtk orthanc dicom3tools plastimatch postgresql poppler-utils iproute2 util-linux"
missing=""
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
[ -z "$missing" ] && exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
  if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then as_root="sudo -n"; else
    echo "left out: tests against$missing (neither root nor sudo); install these packages to run them"
    exit 0
  fi
fi
if ! command -v apt-get >/dev/null 2>&1; then
  echo "left out: tests against$missing (no apt-get here); install these programs to run them"
  exit 0
fi
# No service may start: the tests start what they need, on loopback, and end it.
policy=/usr/sbin/policy-rc.d
made_policy=""
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null && $as_root chmod +x "$policy" && made_policy=yes
fi
$as_root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing >/dev/null
result=$?
[ -n "$made_policy" ] && $as_root rm -f "$policy"
[ $result -eq 0 ] || echo "left out: tests against$missing (apt-get failed)"
exit 0
