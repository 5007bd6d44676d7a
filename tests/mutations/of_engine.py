"""Mutations of `engine` and `cluster`: how trials are run, kept and resumed."""

from tests.mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        "fixed blocks are drawn by the seed", "engine/train.py",
        'draw = seed if grid.blocks == "per_seed" else None', "draw = seed",
        "blocks = 'fixed' does nothing", ("tests/engine/test_train.py",),
    ),
    Mutation(
        "seeding after building dropped", "engine/train.py",
        "    _seed_everything(trial.seed, world)  # again", "    # again",
        "dropout depends on what building the network drew", ("tests/engine/test_train.py",),
    ),
    Mutation(
        "seed ignored in dropout", "engine/train.py",
        'keyed("trial", seed, world.rank)', 'keyed("trial", world.rank)',
        "all seeds share their dropout", ("tests/engine/test_train.py",),
    ),
    Mutation(
        "data changed under a run", "engine/train.py",
        "if language.sha != job.identity.data[code]:", "if False:",
        "one grid, two data sets", ("tests/engine/test_train.py",),
    ),
    Mutation(
        "earlier scores lost", "engine/train.py",
        "scores=old.scores + new, ", "scores=new, ",
        "scoring a further language deletes the others", ("tests/engine/test_train.py",),
    ),
    Mutation(
        "budget of steps ignored", "engine/learner.py",
        'if self.train.budget == "steps":', "if False:",
        "a gain may be training time", ("tests/engine/test_learner.py",),
    ),
    Mutation(
        "batches of seconds left in order of length", "engine/inputs.py",
        "sorted(groups, key=place)", "groups",
        "a training hears its longest clips first", ("tests/engine/test_batches.py",),
    ),
    Mutation(
        "padding left out of batches of seconds", "engine/inputs.py",
        "longest[group[0]] * (rows + len(items[number])) > seconds",
        "sum(longest[n] for n in [*group, number]) > seconds",
        "batches are longer than asked for", ("tests/engine/test_batches.py",),
    ),
    Mutation(
        "test clips left in order of length", "engine/learner.py",
        "tuple(merged[n] for n in range(len(clips)))", "tuple(merged.values())",
        "outputs are scored against other clips' labels",
        ("tests/engine/test_fitting.py", "tests/engine/test_learner.py"),
    ),
    Mutation(
        "dropout on in evaluation", "engine/learner.py",
        "            self.network.eval()", "            pass",
        "scores are noisy and too low", ("tests/engine/test_learner.py", "tests/engine/test_fitting.py"),
    ),
    Mutation(
        "dropout off in training", "engine/learner.py",
        "        self.network.train()\n        with", "        self.network.eval()\n        with",
        "dropout does nothing", ("tests/engine/test_fitting.py",),
    ),
    Mutation(
        "resumed training sees its first batches again", "engine/learner.py",
        "islice(batches, fitting.step, None)", "islice(batches, sum(lengths) - fitting.step)",
        "resumed is not uninterrupted", ("tests/engine/test_fitting.py",),
    ),
    Mutation(
        "every worker trains on the whole batch", "engine/learner.py",
        "own = examples[self.world.rank :: self.world.size]", "own = examples",
        "two workers take steps twice as large", ("tests/engine/test_learner.py",), slow=True,
    ),
    Mutation(
        "shares of workers weigh the same", "engine/fitting.py",
        "(loss * self._world.size)", "(loss)",
        "two workers take half the gradient", ("tests/engine/test_learner.py",), slow=True,
    ),
    Mutation(
        "accumulated gradients not scaled", "engine/fitting.py",
        "self._losses(batch).sum() * share.counts / share.total", "self._losses(batch).mean() * share.counts",
        "a batch in parts counts more", ("tests/engine/test_fitting.py",),
    ),
    Mutation(
        "gradients not clipped", "engine/update.py",
        'train.gradient_clip or float("inf")', 'float("inf")',
        "gradient_clip does nothing", ("tests/engine/test_learner.py",),
    ),
    Mutation(
        "non-finite loss unnoticed", "engine/fitting.py",
        "        if len(bad):", "        if False:",
        "a network of NaN is scored", ("tests/engine/test_learner.py",),
    ),
    Mutation(
        "state without generators", "engine/fitting.py",
        '        set_generators(state["generators"][self._world.rank])', "",
        "dropout after a pause is another", ("tests/engine/test_fitting.py",),
    ),
    Mutation(
        "rate of the first step for ever", "engine/fitting.py",
        "rate_factor(self._train, self.step, self._steps)", "rate_factor(self._train, 0, self._steps)",
        "warm-up and schedule do nothing", ("tests/engine/test_graphs.py", "tests/engine/test_learner.py"),
    ),
    Mutation(
        "optimiser not restored", "engine/fitting.py",
        '        self._update.load_state(state["update"])\n', "",
        "AdamW's moments start anew", ("tests/engine/test_fitting.py",),
    ),
    Mutation(
        "a rate that Python holds", "engine/update.py",
        "self._rate.fill_(rate)", "pass",
        "recorded steps keep the rate of their recording", ("tests/engine/test_graphs.py",),
    ),
    Mutation(
        "moments of the trial before", "engine/graphs.py",
        "table.update({name: place[id(tensor)] for name, tensor in table.items() if tensor is not None})\n"
        "        self.update.reset()\n",
        "table.update({name: place[id(tensor)] for name, tensor in table.items() if tensor is not None})\n",
        "a trial depends on the one before", ("tests/engine/test_graphs.py",),
    ),
    Mutation(
        "weights of the trial before", "engine/graphs.py",
        "                own.copy_(tensor)\n", "                pass\n",
        "a trial goes on from the one before", ("tests/engine/test_graphs.py",),
    ),
    Mutation(
        "a recorded step sees its first batch again", "engine/graphs.py",
        "            own.copy_(new)\n", "            pass\n",
        "every step of a shape trains on one clip", ("tests/engine/test_graphs.py",),
    ),
    Mutation(
        "moments restored as other tensors", "engine/update.py",
        "                tensor.copy_(kept[name])\n",
        "                self._optimiser.state[parameter][name] = kept[name].clone()\n",
        "recorded steps go on from no state", ("tests/engine/test_graphs.py",),
    ),
    Mutation(
        "state of another configuration used", "engine/checkpoints.py",
        'if kept["made_with"] == self._made_with:', "if True:",
        "a training goes on from another's weights", ("tests/engine/test_fitting.py",),
    ),
    Mutation(
        "scored in the training's precision", "engine/learner.py",
        "with autocast(self.train.scored_in, self.device):", "with autocast(self.train.precision, self.device):",
        "evaluation_precision does nothing", ("tests/engine/test_precision.py",),
    ),
    Mutation(
        "dev sets scored with the training's TF32", "engine/learner.py",
        "with tf32(self.train.scored_in):", "with tf32(self.train.precision):",
        "an epoch is chosen in another precision than it is scored in", ("tests/engine/test_precision.py",),
    ),
    Mutation(
        "TF32 not put back", "engine/precision.py",
        "        products.allow_tf32, convolutions.allow_tf32 = before", "        pass",
        "a trial's precision depends on the trial before", ("tests/engine/test_precision.py",),
    ),
    Mutation(
        "later keys in the identity", "engine/job.py",
        "field.metadata == LATER and getattr(table, field.name) == _default(field)", "False",
        "a new key of the grid file refuses every results folder", ("tests/engine/test_job.py",),
    ),
    Mutation(
        "configuration not compared", "engine/job.py",
        "    if differing:", "    if False:",
        "one folder, two experiments", ("tests/engine/test_job.py",),
    ),
    Mutation(
        "data hash ignored", "engine/job.py",
        "    if changed:", "    if False:",
        "one folder, two data sets", ("tests/engine/test_train.py",),
    ),
    Mutation(
        "finished trial runs twice", "engine/plan.py",
        "if code not in scored.get(trial.slug, ()))", ")",
        "every start trains everything", ("tests/engine/test_job.py",),
    ),
    Mutation(
        "trial finished meanwhile runs twice", "engine/run.py",
        "        if not store.has(pending.trial, pending.languages):", "        if True:",
        "what another run has stored is trained again", ("tests/engine/test_actor.py",),
    ),
    Mutation(
        "claims ignored by a worker", "engine/run.py",
        "    if not run.claim(slug):", "    if False:",
        "two runs train every trial twice", ("tests/engine/test_actor.py",),
    ),
    Mutation(
        "claims of others taken", "engine/claims.py",
        "                if self._is_held(path):", "                if not path.unlink():",
        "two runs train one trial", ("tests/engine/test_claims.py",),
    ),
    Mutation(
        "claims of dead runs kept", "engine/claims.py",
        "return age <= STALE_SECONDS and not (file.readline().strip() == _machine() and _is_unlocked(file))",
        "return True",
        "a killed run blocks its trials for ever", ("tests/engine/test_claims.py",),
    ),
    Mutation(
        "another's claim given back", "engine/claims.py",
        "path = self._claims / slug\n        if self._is_own(path):", "path = self._claims / slug\n        if True:",
        "a third run trains it too", ("tests/engine/test_claims.py",),
    ),
    Mutation(
        "part of the languages is enough", "engine/store.py",
        "return result is not None and result.languages >= set(languages)", "return result is not None",
        "a trial without all its scores counts as finished",
        ("tests/engine/test_store.py", "tests/engine/test_actor.py"),
    ),
    Mutation(
        "changed result not read again", "engine/store.py",
        "if known.get(slug) != stamp}", "if slug not in known}",
        "scores.parquet keeps old scores", ("tests/engine/test_store.py",),
    ),
    Mutation(
        "failed trials count as finished", "engine/status.py",
        "wanted[trial.mixture] for trial in trials)",
        "wanted[trial.mixture] for trial in trials if not store.cause(trial))",
        "a grid with holes is complete", ("tests/engine/test_status.py",),
    ),
    Mutation(
        "failed trials leave exit status 0", "engine/commands.py",
        "return Exit.MORE if held or run.is_stopping() else Exit.HOLES", "return Exit.COMPLETE",
        "a script goes on with holes",
        ("tests/engine/test_part.py::test_a_part_that_fails_is_not_complete",), slow=True,
    ),
    Mutation(
        "cause of a failure not kept", "engine/run.py",
        "            store.write_failure(pending.trial, traceback.format_exc())", "            pass",
        "nobody can tell why a trial failed", ("tests/engine/test_actor.py",),
    ),
    Mutation(
        "conditions in the live matrix", "engine/progress.py",
        'if row["primary"] and not row["condition"] and', 'if row["primary"] and',
        "the display mixes noisy scores in", ("tests/engine/test_progress.py",),
    ),
    Mutation(
        "every rank makes a W&B run", "engine/run.py",
        "    if World.current().rank > 0:", "    if False:",
        "two workers, two runs", ("tests/engine/test_tracking.py::test_two_workers_make_one_run",), slow=True,
    ),
    Mutation(
        "W&B fails a training", "engine/tracking.py",
        "        except Exception as error:  # whatever a logger raises, the training goes on",
        "        except KeyError as error:",
        "a server's trouble costs a trial", ("tests/engine/test_tracking.py",),
    ),
    Mutation(
        "secrets in site files", "cluster/site.py",
        " and not SECRET.search(name)", "",
        "keys stand in scripts that others read", ("tests/cluster/test_site.py",),
    ),
    Mutation(
        "words of a job script not quoted", "cluster/script.py",
        'return " ".join(shlex.quote(word) for word in words)', 'return " ".join(words)',
        "a grid's name is run by the shell", ("tests/cluster/test_script.py",),
    ),
    Mutation(
        "nothing acts after a step", "engine/fitting.py",
        "part.after_step(self._network, rate)", "part.after_step(self._network, 0.0)",
        "elastic weight consolidation holds no weight", ("tests/tasks/translation/test_translation.py",),
    ),
    Mutation(
        "padding left out of the estimate", "engine/cost.py",
        "padded = sum(count * size * _expected_longest(rungs, size) for count, size in batches)",
        "padded = float(rungs.sum())",
        "hours are wrong where batches are padded", ("tests/engine/test_cost.py",),
    ),
    Mutation(
        "trials that shared a GPU otherwise are mixed", "engine/cost.py",
        "(one.device, one.sharing) == (ran[-1].device, ran[-1].sharing)", "one.device == ran[-1].device",
        "hours of eight trials a GPU from trials that had it alone", ("tests/engine/test_cost.py",),
    ),
)  # fmt: skip
