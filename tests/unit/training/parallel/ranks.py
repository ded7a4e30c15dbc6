"""What processes do in the tests of launching them; named to the launcher as `module:function`."""

import os
import signal
import time

from tasks.core.errors import DataContractError


def say_who(params, *, scratch, rank, **_):
    """Leave the own process id, and return what the first process is to hand back."""
    (scratch / f"pid-{rank}").write_text(str(os.getpid()))
    return {"rank": rank, "mode": params.mode, "only_here": os.environ["GLOO_SOCKET_IFNAME"]}


def wait(params, *, scratch, rank, **_):
    """Work for ever."""
    say_who(params, scratch=scratch, rank=rank)
    time.sleep(600)


def refuse(params, *, scratch, rank, **_):
    """The second refuses its rows while the first works on."""
    if rank == 0:
        wait(params, scratch=scratch, rank=rank)
    raise DataContractError("第二个进程拒绝了数据", "tunegate data validate")


def crash(params, *, scratch, rank, **_):
    """The second fails of something that is no error of ours."""
    if rank == 0:
        wait(params, scratch=scratch, rank=rank)
    raise ZeroDivisionError("a fault of ours")


def be_killed(params, *, scratch, rank, **_):
    """The second is killed while the first works on."""
    if rank == 0:
        wait(params, scratch=scratch, rank=rank)
    os.kill(os.getpid(), signal.SIGKILL)


def train_until_the_second_is_killed(params, *, scratch, rank, **keywords):
    """Train for real; the second process is killed with -9 when it has logged step five."""
    from tasks.training.train import train_here
    from tasks.training.trainer import DivergenceStop

    log = DivergenceStop.on_log

    def kill_at_five(self, args, state, control, logs=None, **more):
        log(self, args, state, control, logs, **more)
        if state.global_step == 5 and rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    DivergenceStop.on_log = kill_at_five
    return train_here(params, scratch=scratch, rank=rank, **keywords)


def train_and_weigh(params, *, output, rank, **keywords):
    """Train for real; leave how many bytes of the model this process held, and how many it has in all."""
    from tasks.training.train import train_here
    from tasks.training.trainer import CompletionTrainer

    prepare = CompletionTrainer._prepare_for_training

    def weighing(self, *args):
        prepared = prepare(self, *args)
        held, whole = 0, 0
        for parameter in self.model.parameters():
            local = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            held += local.numel() * local.element_size()
            whole += parameter.numel() * parameter.element_size()
        (keywords["scratch"] / f"held-{rank}").write_text(f"{held} {whole}")
        return prepared

    CompletionTrainer._prepare_for_training = weighing
    return train_here(params, output=output, rank=rank, **keywords)
