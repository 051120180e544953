#!/usr/bin/env bash
# make run: a containerd of its own (root, state and socket in a temporary folder), the example images, real requests.
# PORT is the first of four ports on 127.0.0.1; with KEEP=1 all stays up until it is stopped as the last lines say.
set -Eeuo pipefail
cd "$(dirname "$0")/.."
port=${PORT:-3000}
examples=(hello env upload wat)

if [ "${1:-}" = stop ]; then
	dir=${2:?the folder that make run KEEP=1 named}
else
	dir=$(mktemp -d /tmp/wagi-run.XXXXXX)
fi
export PATH="$PWD/out:$PWD/out/containerd-1.6:$PATH"
export CONTAINERD_ADDRESS="$dir/containerd.sock" CONTAINERD_NAMESPACE="${dir##*/}"

stop() {
	{
		for name in "${examples[@]}"; do ctr task kill "$name" || true; done
		timeout 30 bash -c 'while ctr task ls | grep RUNNING; do sleep 0.1; done' || true
		for name in "${examples[@]}"; do
			ctr task delete -f "$name" || true
			ctr container delete "$name" || true
		done
		kill "$(cat "$dir/pid")" && tail --pid="$(cat "$dir/pid")" -f /dev/null
		rmdir "/run/containerd/runc/$CONTAINERD_NAMESPACE" /sys/fs/cgroup{,/*}/"$CONTAINERD_NAMESPACE" || true
	} >/dev/null 2>&1
	rm -rf "$dir"
}

show() {
	printf '\n$ %s\n' "$*"
	"$@"
}

if [ "${1:-}" = stop ]; then
	stop
	exit
fi

for i in "${!examples[@]}"; do
	if (exec 3<>"/dev/tcp/127.0.0.1/$((port + i))") 2>/dev/null; then
		echo "port $((port + i)) is in use; choose others: make run PORT=8000" >&2
		rmdir "$dir"
		exit 1
	fi
done

cat >"$dir/config.toml" <<END
version = 2
root = "$dir/root"
state = "$dir/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$CONTAINERD_ADDRESS"
END
setsid containerd --config "$dir/config.toml" >"$dir/log" 2>&1 &
echo $! >"$dir/pid"
trap 'trap - ERR; echo "make run failed; the logs end:" >&2; tail -n 20 "$dir"/*log >&2; stop; exit 1' ERR
trap 'trap - ERR; stop; exit 130' INT TERM
timeout 30 bash -c 'until ctr version >/dev/null 2>&1; do sleep 0.1; done'

for i in "${!examples[@]}"; do
	name=${examples[i]}
	ctr image import "out/images/$name.tar" >/dev/null
	show ctr run -d --net-host --runtime io.containerd.wagi.v1 --env "WAGI_LISTEN=127.0.0.1:$((port + i))" \
		--log-uri "file://$dir/$name.log" "docker.io/library/$name:latest" "$name"
done
for i in "${!examples[@]}"; do
	timeout 60 bash -c "until curl -sf -o /dev/null http://127.0.0.1:$((port + i))/healthz; do sleep 0.1; done"
done

head -c 1000000 /dev/urandom >"$dir/sent"
show curl -sS --fail-with-body -i "http://127.0.0.1:$port/?name=CGI"
show curl -sS --fail-with-body "http://127.0.0.1:$((port + 1))/any/path?a=1&b=2"
show curl -sS --fail-with-body -i -T "$dir/sent" "http://127.0.0.1:$((port + 2))/files/sent"
show curl -sS --fail-with-body -o "$dir/received" "http://127.0.0.1:$((port + 2))/files/sent"
show cmp "$dir/sent" "$dir/received"
show curl -sS --fail-with-body -i "http://127.0.0.1:$((port + 3))/"
show ctr task ls

if [ -n "${KEEP:-}" ]; then
	cat <<END

All stays up: http://127.0.0.1:$port (hello), :$((port + 1)) (env), :$((port + 2))/files (upload), :$((port + 3)) (wat).
Look in:  $PWD/out/containerd-1.6/ctr -a $CONTAINERD_ADDRESS -n $CONTAINERD_NAMESPACE task ls; the logs are in $dir
Stop it:  test/run.sh stop $dir
END
else
	stop
	echo
	echo "make run: all requests were answered; everything is stopped and removed"
fi
