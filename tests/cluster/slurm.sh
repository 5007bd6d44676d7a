#!/usr/bin/env bash
# A real SLURM of three nodes on this machine, for the tests: slurm.sh up | down | lose NODE | restore NODE. Needs root.
#
# Each node is a slurmd in namespaces of its own: network (10.77.0.11 to .13 on a bridge), processes (killing its first
# process loses the node) and mounts (its own /tmp and /dev/shm). Everything else of the machine is shared storage.
# Nothing of an installed SLURM is touched: the configuration is at $SLURM_CONF and all state beside it.
# Needs Debian's or Ubuntu's slurm-wlm, munge and iproute2 (SLURM 22.05 or newer). Not covered: GPUs, accounting.
set -euo pipefail
state=${SLURM_TEST_STATE:-/var/tmp/cltm-slurm}
export SLURM_CONF=$state/slurm.conf
host=$(hostname)

configure() {
  mkdir -p "$state/ctld" "$state/log"
  cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(10.77.0.1)
SlurmctldPort=17000
AuthType=auth/munge
AuthInfo=socket=$state/munge/socket,cred_expire=10
CredType=cred/munge
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/%n/spool
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/%n/slurmd.pid
SlurmctldLogFile=$state/log/slurmctld
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=5,bf_interval=5
ReturnToService=2
SlurmctldTimeout=10
SlurmdTimeout=20
KillWait=5
MpiDefault=none
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE OverTimeLimit=0 State=UP
CONF
  for i in 1 2 3; do
    echo "NodeName=n$i NodeAddr=10.77.0.1$i NodeHostname=$host Port=1700$i CPUs=2 RealMemory=4000"
  done >>"$SLURM_CONF"
}

start_munge() {
  mkdir -p "$state/munge" && chown munge:munge "$state/munge" && chmod 755 "$state/munge"
  [ -f "$state/munge/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$state/munge/key")
  chown munge:munge "$state/munge/key"
  setsid runuser -u munge -- "$(command -v munged)" --force --socket="$state/munge/socket" \
    --key-file="$state/munge/key" --pid-file="$state/munge/pid" --log-file="$state/munge/log" \
    --seed-file="$state/munge/seed"
}

start_node() { # nsenter, not `ip netns exec`, which remounts /sys, where slurmd then finds no cgroup
  local own=$state/$1
  mkdir -p "$own/spool" "$own/tmp" && chmod 1777 "$own/tmp"
  # shellcheck disable=SC2016 # expanded by the inner shell
  setsid nsenter --net="/run/netns/cltm-$1" unshare --pid --fork --kill-child --mount --mount-proc bash -c '
    mount --bind "$1/tmp" /tmp && mount -t tmpfs -o mode=1777 tmpfs /dev/shm
    exec "$(command -v slurmd)" -D -N "$2" -f "$SLURM_CONF" -L "$3"' slurmd "$own" "$1" "$state/log/$1" \
    >/dev/null 2>&1 </dev/null &
  echo $! >"$own/unshare.pid"
}

lose_node() {
  local process=$state/$1/unshare.pid
  [ ! -f "$process" ] || kill -KILL "$(cat "$process")" 2>/dev/null || true
  rm -f "$process"
}

up() {
  down
  configure
  start_munge
  ip link add cltmbr0 type bridge && ip addr add 10.77.0.1/24 dev cltmbr0 && ip link set cltmbr0 up
  for i in 1 2 3; do
    ip netns add "cltm-n$i"
    ip link add "cltmv$i" type veth peer name eth0 netns "cltm-n$i"
    ip link set "cltmv$i" master cltmbr0 up
    ip -n "cltm-n$i" addr add "10.77.0.1$i/24" dev eth0
    ip -n "cltm-n$i" link set lo up && ip -n "cltm-n$i" link set eth0 up
  done
  setsid "$(command -v slurmctld)" -f "$SLURM_CONF" </dev/null >/dev/null 2>&1
  for i in 1 2 3; do start_node "n$i"; done
  for _ in {1..60}; do
    [ "$(sinfo --noheader --Node --states=idle 2>/dev/null | wc -l)" -ne 3 ] || return 0
    sleep 0.5
  done
  sinfo --Node --long >&2
  tail -n 5 "$state"/log/* >&2
  return 1
}

down() {
  for i in 1 2 3; do lose_node "n$i"; done
  for daemon in slurmctld.pid munge/pid; do
    [ ! -f "$state/$daemon" ] || kill "$(cat "$state/$daemon")" 2>/dev/null || true
  done
  for i in 1 2 3; do
    [ ! -e "/run/netns/cltm-n$i" ] || ip netns delete "cltm-n$i"
    ip link delete "cltmv$i" 2>/dev/null || true
  done
  ip link delete cltmbr0 2>/dev/null || true
  rm -rf "$state"
}

case ${1:-} in
  up) up ;;
  down) down ;;
  lose) lose_node "$2" ;;
  restore) start_node "$2" ;;
  *) echo "usage: $0 up | down | lose NODE | restore NODE" >&2 && exit 2 ;;
esac
