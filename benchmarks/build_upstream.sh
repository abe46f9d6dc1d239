#!/bin/sh
# Builds upstream's kube-apiserver, the peer of bench_apiserver.py, from Debian's source package: FOLDER/src/_output/bin/kube-apiserver.
# Needs root for the packages, a deb-src entry in apt's sources, 3 GB and some minutes.
#
#     benchmarks/build_upstream.sh FOLDER
#     KFS_UPSTREAM_APISERVER=FOLDER/src/_output/bin/kube-apiserver make bench
set -eu
[ $# = 1 ] || { sed -n 's/^#  *\(benchmarks.*\)/usage: \1/p' "$0" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends golang-1.19-go golang-github-modern-go-reflect2-dev dpkg-dev rsync make jq wrk etcd-server
[ -d src ] || { apt-get source --download-only kubernetes && dpkg-source -x kubernetes_*.dsc src; }
cd src
# Debian's package vendors its dependencies: modules are off, so that nothing is downloaded.
export PATH="/usr/lib/go-1.19/bin:$PATH" GO111MODULE=off GOCACHE="$PWD/../gocache"
# The vendored reflect2 is older than Go 1.18, whose maps it corrupts: the server would crash under load.  Debian has one that knows them.
rm -f vendor/github.com/modern-go/reflect2/*.go
cp /usr/share/gocode/src/github.com/modern-go/reflect2/*.go vendor/github.com/modern-go/reflect2/
make generated_files
CGO_ENABLED=0 make WHAT=cmd/kube-apiserver KUBE_GIT_VERSION=v1.20.2 KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20
echo "$PWD/_output/bin/kube-apiserver"
