job=$SLURM_JOB_ID
slurm=$results/slurm
temp=$temp_dir/r-$job
started=$slurm/$job.started
step=(srun --overlap --cpu-bind=none --ntasks-per-node=1)
stop='' driver='' steps=()

say() { echo "$(date '+%F %T') job $job: $*"; }

# SLURM asks the batch script to stop; it passes that on. A driver that is not done in so many seconds is ended.
# shellcheck disable=SC2317 # called by traps
ask() {
  stop=$1
  say "asked to stop: SIG$stop"
  [ -n "$driver" ] || return 0
  kill -s "$stop" "$driver" 2>/dev/null || return 0
  { sleep "$2" && kill -KILL "$driver"; } 2>/dev/null &
}

# Ends the steps of this job, and with them its Ray and no other: not `ray stop`, which ends every Ray of the user.
end_nodes() {
  rm -f "$RAY_AUTH_TOKEN_PATH"
  [ "${#steps[@]}" -gt 0 ] || return 0
  scancel --signal=TERM "$job" 2>/dev/null || true
  for _ in {1..50}; do
    kill -0 "${steps[@]}" 2>/dev/null || break
    sleep 0.1
  done
}

trap 'ask USR1 "$patience"' USR1
trap 'ask TERM 2' TERM # Ray is ended at the same time, and soon this script is too
trap 'end_nodes && rm -f "$started"' EXIT

# One token for all nodes, which nobody else can read.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$slurm/$job.token
(umask 077 && head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n' >"$RAY_AUTH_TOKEN_PATH")
touch "$started"

# The first node is this one, and Ray's head. Ports: a block that is free on every node.
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
peer=$(scontrol show node --oneliner "${nodes[-1]}" | grep -o 'NodeAddr=[^ ]*')
address=$("${python[@]}" -m cluster.node address --interface="$interface" --peer="${peer#*=}")
port=$("${step[@]}" "${python[@]}" -m cluster.node ports "$job" |
  sort -n | uniq -c | awk -v nodes="${#nodes[@]}" '$1 == nodes && !port { port = $2; print port }')
[ -n "$port" ] || { say "no block of ports is free on all nodes" && exit 1; }
export RAY_ADDRESS=$address:$port

# A job step a node. If SLURM loses a node, it queues the job again.
for node in "${nodes[@]}"; do
  kind='worker'
  [ "$node" != "$SLURMD_NODENAME" ] || kind='head'
  "${step[@]}" --nodes=1 --ntasks=1 --nodelist="$node" --output="$slurm/$job-$node.log" \
    "${python[@]}" -m cluster.node start "$kind" --interface="$interface" --temp="$temp" --stage="$stage" \
    --sharing="$sharing" &
  steps+=("$!")
done
"${python[@]}" -m cluster.node wait "${#nodes[@]}" || { say "Ray did not start; see $slurm/$job-*.log" && exit 1; }

# The engine. A signal interrupts `wait`, which then is asked again.
status=75
if [ -z "$stop" ]; then
  say "Ray runs on ${#nodes[@]} nodes"
  TMPDIR=$temp "${python[@]}" -m engine run "$grid" --results "$results" &
  driver=$!
  while true; do
    before=$stop status=0
    wait "$driver" || status=$?
    [ "$stop" != "$before" ] || break
  done
  [ -z "$stop" ] || [ "$status" -le 128 ] || status=75 # it was ended before it could answer
fi
end_nodes

# Exit statuses of the engine: 0 complete, 75 more to do, anything else is for a person to look at.
progress=$(find "$results/trials" "$results/states" -type f -name '[!.]*' -newer "$started" -print -quit 2>/dev/null || true)
case $status,$stop in
  0,*) say "complete" ;;
  75,USR1)
    if [ -n "$progress" ]; then
      say "its time is over and trials are missing: it goes back into the queue"
      scontrol requeue "$job"
    else
      say "its time is over, and nothing was finished in all of it: not queued again; it needs more --time"
    fi
    ;;
  75,TERM) say "cancelled or pre-empted; what is finished is kept" ;;
  75,*) say "other jobs train what is left" ;;
  *) say "ended with status $status: trials have failed, or see above" ;;
esac
exit "$status"
