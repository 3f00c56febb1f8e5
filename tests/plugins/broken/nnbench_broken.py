"""The example's backend with one mistake each; the conformance suite must name every one."""

from __future__ import annotations

import ctypes
import sys
import threading
import time
from dataclasses import replace
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from nnbench_example.network import ExampleNetwork
from nnbench_example.optimizers import Adam, FreshAdam, make_optimizer

from nnbench import (
    Backend,
    BackendUnavailableError,
    Examples,
    Layer,
    OptimizerState,
    flatten,
    hookimpl,
    minibatches,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench import Network


def scale(layers, factor):
    return [Layer(w * factor, None if b is None else b * factor) for w, b in layers]


# --- gradients


class FlipsSign(ExampleNetwork):
    def backprop(self, batch):
        loss = super().backprop(batch)
        self.kept = scale(self.kept, np.float32(-1))
        return loss


class ForgetsMean(ExampleNetwork):
    def backprop(self, batch):
        loss = super().backprop(batch)
        n = np.float32(len(batch.inputs))
        decay = [np.float32(self.spec.l2) * layer.weight for layer in self.layers]
        self.kept = [
            Layer((w - d) * n + d, None if b is None else b * n)
            for (w, b), d in zip(self.kept, decay, strict=True)
        ]
        return loss


class SumsLosses(ExampleNetwork):
    def backprop(self, batch):
        return super().backprop(batch) * len(batch.inputs)


class MasksWrongLayer(ExampleNetwork):
    def backprop(self, batch):
        self.masked = [self.values[0], self.values[-1], *self.values[2:]]
        return super().backprop(batch)

    def slope(self, a):
        layer = next(i for i, value in enumerate(self.values) if value is a)
        return super().slope(self.masked[layer])


class ForgetsSlope(ExampleNetwork):
    def slope(self, a):
        return np.ones_like(a)


class MislabelsByOne(ExampleNetwork):
    def place(self, examples):
        inputs, labels, targets = examples
        labels = None if labels is None else (labels + 1) % self.spec.sizes[-1]
        return Examples(inputs, labels, targets)


class DecaysBiases(ExampleNetwork):
    def backprop(self, batch):
        loss = super().backprop(batch)
        if self.spec.bias:
            pairs = zip(self.kept, self.layers, strict=True)
            self.kept = [Layer(g, h + np.float32(self.spec.l2) * b) for (g, h), (_, b) in pairs]
        return loss


class SoftmaxesTwice(ExampleNetwork):
    def feedforward(self, batch):
        super().feedforward(batch)
        if self.spec.loss == "cross_entropy":
            powers = np.exp(self.logits)
            self.logits = powers / powers.sum(axis=1, keepdims=True)
        return self.logits


class ComputesInHalf(ExampleNetwork):
    def feedforward(self, batch):
        self.values = [batch.inputs]
        for depth, (weight, bias) in enumerate(self.layers):
            z = (self.values[-1].astype(np.float16) @ weight.astype(np.float16)).astype(np.float32)
            z = z if bias is None else z + bias
            last = depth == len(self.layers) - 1
            self.values.append(z if last else self.activate(z))
        self.logits = self.values.pop()
        return self.logits


class AddsGradients(ExampleNetwork):
    def load(self, layers):
        super().load(layers)
        self.kept = scale(self.kept, np.float32(0))

    def backprop(self, batch):
        before = [layer.copy() for layer in self.kept]
        loss = super().backprop(batch)
        self.kept = [
            Layer(w + v, None if b is None else b + c)
            for (w, b), (v, c) in zip(self.kept, before, strict=True)
        ]
        return loss


class SharesLoss(ExampleNetwork):
    """Returns one buffer for every loss, as a device would."""

    def backprop(self, batch):
        self.loss = getattr(self, "loss", np.zeros(()))
        self.loss[...] = super().backprop(batch)
        return self.loss


class Transposes(ExampleNetwork):
    def dump(self):
        return [Layer(w.T.copy(), b) for w, b in super().dump()]


class DumpsDouble(ExampleNetwork):
    def dump(self):
        return [Layer(w.astype(np.float64), b) for w, b in super().dump()]


# --- forms


class PredictsClasses(ExampleNetwork):
    def predict(self, batch):
        return super().predict(batch).argmax(axis=1)


class PredictsOneHot(ExampleNetwork):
    def predict(self, batch):
        return np.eye(self.spec.sizes[-1], dtype=np.float32)[super().predict(batch).argmax(axis=1)]


class PredictsProbabilities(ExampleNetwork):
    def predict(self, batch):
        powers = np.exp(super().predict(batch))
        return powers / powers.sum(axis=1, keepdims=True)


class PredictsLogarithms(ExampleNetwork):
    def predict(self, batch):
        logits = super().predict(batch)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


class FeedsNothing(ExampleNetwork):
    def feedforward(self, batch):
        super().feedforward(batch)


class DumpsNothing(ExampleNetwork):
    def dump(self):
        super().dump()


class GivesNoGradients(ExampleNetwork):
    def gradients(self):
        super().gradients()


class BackpropsNothing(ExampleNetwork):
    def backprop(self, batch):
        super().backprop(batch)


class IgnoresInitial(ExampleNetwork):
    """Draws initial parameters of its own, from one seed."""

    def load(self, layers):
        rng = np.random.default_rng(0)
        super().load(layers)
        for mine in flatten(self.layers):
            mine[...] = rng.uniform(-0.4, 0.4, mine.shape)


class KeepsHalf(ExampleNetwork):
    """Keeps its parameters in float16."""

    def load(self, layers):
        super().load(layers)
        for mine in flatten(self.layers):
            mine[...] = mine.astype(np.float16)


class LoadsTransposed(ExampleNetwork):
    """Transposes square weights, which nobody's shapes tell."""

    def load(self, layers):
        super().load([Layer(w.T.copy() if w.shape[0] == w.shape[1] else w, b) for w, b in layers])


class UsesTransposed(LoadsTransposed):
    """Does so, and transposes them back in dump."""

    def dump(self):
        return [Layer(w.T if w.shape[0] == w.shape[1] else w, b) for w, b in super().dump()]

    def gradients(self):
        return [Layer(w.T if w.shape[0] == w.shape[1] else w, b) for w, b in super().gradients()]


class DropsOut(ExampleNetwork):
    """Leaves dropout on, and draws on from call to call."""

    rng = np.random.default_rng(1)

    def activate(self, z):
        return super().activate(z) * (self.rng.random(z.shape) > 0.5).astype(np.float32) * 2


class DividesTwice(ExampleNetwork):
    def backprop(self, batch):
        loss = super().backprop(batch)
        self.kept = scale(self.kept, np.float32(1 / len(batch.inputs)))
        return loss


class AveragesTwice(ExampleNetwork):
    def backprop(self, batch):
        return super().backprop(batch) / len(batch.inputs)


class ForgetsToTranspose(ExampleNetwork):
    """Takes a square weight for its own transpose on the way back."""

    def backprop(self, batch):
        layers = self.layers
        self.layers = [Layer(Square(w) if w.shape[0] == w.shape[1] else w, b) for w, b in layers]
        loss = super().backprop(batch)
        self.layers = layers
        self.kept = [Layer(np.asarray(w), b) for w, b in self.kept]
        return loss


class Square:
    """A weight whose transpose is itself."""

    def __init__(self, weight):
        self.weight = weight
        self.T = weight

    def __array__(self, dtype=None, copy=None):
        return self.weight

    def __rmul__(self, factor):
        return factor * self.weight


# --- updates


class OtherAdam(ExampleNetwork):
    """Has another optimizer where the specification says Adam."""

    optimizer_class: ClassVar[type[Adam]]

    def load(self, layers):
        super().load(layers)
        if self.spec.optimizer.kind == "adam":
            self.optimizer = self.optimizer_class(self.spec.optimizer, flatten(self.layers))


class UncorrectedAdam(Adam):
    def rate(self):
        return np.float32(self.spec.learning_rate)

    def scale(self):
        return np.float32(1)


class SkipsCorrection(OtherAdam):
    optimizer_class = UncorrectedAdam


class InsideAdam(Adam):
    def step(self, gradients):
        self.steps += 1
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m += np.float32(1 - self.spec.beta1) * (g - m)
            v += np.float32(1 - self.spec.beta2) * (g * g - v)
            p -= self.rate() * m / np.sqrt(v / self.scale() ** 2 + np.float32(self.spec.epsilon))


class PutsEpsilonInside(OtherAdam):
    optimizer_class = InsideAdam


class EarlyAdam(Adam):
    """Adds epsilon before the second moment is corrected, as Keras does."""

    def step(self, gradients):
        self.steps += 1
        for p, g, m, v in zip(self.parameters, gradients, self.first, self.second, strict=True):
            m += np.float32(1 - self.spec.beta1) * (g - m)
            v += np.float32(1 - self.spec.beta2) * (g * g - v)
            rate = self.rate() * self.scale()
            p -= rate * m / (np.sqrt(v) + np.float32(self.spec.epsilon))


class AddsEpsilonEarly(OtherAdam):
    optimizer_class = EarlyAdam


class FlipsSignToo(AddsEpsilonEarly):
    """Declares its optimizer, and has a wrong gradient besides."""

    def backprop(self, batch):
        loss = super().backprop(batch)
        self.kept = scale(self.kept, np.float32(-1))
        return loss


class RestartsAdam(OtherAdam):
    optimizer_class = FreshAdam


class SkipsBiases(ExampleNetwork):
    def update(self):
        before = [layer.copy() for layer in self.layers]
        super().update()
        for layer, old in zip(self.layers, before, strict=True):
            if layer.bias is not None:
                layer.bias[...] = old.bias


class NeverUpdates(ExampleNetwork):
    def update(self):
        pass


class KeepsState(ExampleNetwork):
    def load(self, layers):
        if hasattr(self, "layers"):
            for mine, given in zip(flatten(self.layers), flatten(layers), strict=True):
                mine[...] = given
        else:
            super().load(layers)


class UsesStaleGradients(ExampleNetwork):
    def load(self, layers):
        super().load(layers)
        self.before = None

    def update(self):
        latest = [layer.copy() for layer in self.kept]
        self.kept = self.before or latest
        super().update()
        self.kept, self.before = latest, [layer.copy() for layer in latest]


class UsesGradientsOnce(ExampleNetwork):
    def backprop(self, batch):
        self.is_fresh = True
        return super().backprop(batch)

    def update(self):
        if self.is_fresh:
            super().update()
        self.is_fresh = False


class HasMomentum(ExampleNetwork):
    """Follows the running sum of the gradients, where the specification says plain SGD."""

    def load(self, layers):
        super().load(layers)
        self.velocity = [np.zeros_like(a) for a in flatten(self.layers)]

    def update(self):
        if self.spec.optimizer.kind != "sgd":
            super().update()
            return
        for v, g in zip(self.velocity, flatten(self.kept), strict=True):
            v *= np.float32(0.9)
            v += g
        self.optimizer.step(self.velocity)


class MultipliesRate(ExampleNetwork):
    """Takes the learning rate for that of an example."""

    def __init__(self, spec):
        optimizer = spec.optimizer
        rate = optimizer.learning_rate * 8
        super().__init__(replace(spec, optimizer=replace(optimizer, learning_rate=rate)))


class IgnoresRate(ExampleNetwork):
    """Has the learning rate of its library."""

    def __init__(self, spec):
        super().__init__(replace(spec, optimizer=replace(spec.optimizer, learning_rate=0.003)))


# --- what the optimizer keeps


class WrongState(ExampleNetwork):
    """Hands Adam's moments out in another form."""

    change: Callable[..., OptimizerState]

    def optimizer_state(self):
        state = super().optimizer_state()
        return None if state is None else self.change(*state)

    def factors(self, steps):
        decays = self.spec.optimizer.beta1, self.spec.optimizer.beta2
        return [np.float32(1 / (1 - decay**steps)) for decay in decays]


class CorrectsMoments(WrongState):
    def change(self, steps, first, second):
        one, other = self.factors(steps)
        return OptimizerState(steps, scale(first, one), scale(second, other))


class ScalesMoments(WrongState):
    def change(self, steps, first, second):
        one, other = self.factors(1)
        return OptimizerState(steps, scale(first, one), scale(second, other))


class SwapsMoments(WrongState):
    def change(self, steps, first, second):
        return OptimizerState(steps, second, first)


class RootsSecondMoment(WrongState):
    def change(self, steps, first, second):
        roots = [Layer(*(None if a is None else np.sqrt(a) for a in layer)) for layer in second]
        return OptimizerState(steps, first, roots)


class GivesGradients(WrongState):
    def change(self, steps, first, second):
        return OptimizerState(steps, self.gradients(), second)


class CountsFromOne(WrongState):
    def change(self, steps, first, second):
        return OptimizerState(steps + 1, first, second)


class CountsEpochs(WrongState):
    def change(self, steps, first, second):
        return OptimizerState(steps // 3, first, second)


class TransposesMoments(WrongState):
    def change(self, steps, first, second):
        return OptimizerState(steps, [Layer(w.T.copy(), b) for w, b in first], second)


class GivesOneBuffer(WrongState):
    """Copies its moments to the same place each time."""

    def change(self, steps, first, second):
        self.buffer = getattr(self, "buffer", first)
        for mine, new in zip(flatten(self.buffer), flatten(first), strict=True):
            mine[...] = new
        return OptimizerState(steps, self.buffer, second)


class KeepsMomentsOfSgd(ExampleNetwork):
    def optimizer_state(self):
        return super().optimizer_state() or OptimizerState(0, self.gradients(), self.gradients())


class AliasesMoments(ExampleNetwork):
    def optimizer_state(self):
        state, optimizer = super().optimizer_state(), self.optimizer
        if state is None or not isinstance(optimizer, Adam):
            return None
        own = (self.in_layers(m) for m in (optimizer.first, optimizer.second))
        return OptimizerState(state.steps, *own)

    def in_layers(self, arrays):
        rest = iter(arrays)
        return [Layer(next(rest), next(rest) if self.spec.bias else None) for _ in self.layers]


class SharesMoments(AliasesMoments):
    """Makes new arrays in each step, and hands these out."""

    def update(self):
        if isinstance(self.optimizer, Adam):
            for name in ("first", "second"):
                setattr(self.optimizer, name, [m.copy() for m in getattr(self.optimizer, name)])
        super().update()


class ForgetsWhenAsked(ExampleNetwork):
    def optimizer_state(self):
        state = super().optimizer_state()
        if isinstance(self.optimizer, Adam):
            self.optimizer.restart()
        return state


class HoldsOneEpoch(ExampleNetwork):
    """Takes an order for rows of a split that come once each."""

    def train_epoch(self, data, order, batch_size):
        return super().train_epoch(data, np.array(list(dict.fromkeys(order))), batch_size)


# --- epochs


class DropsLastBatch(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        whole = len(order) // batch_size * batch_size or len(order)
        return super().train_epoch(data, order[:whole], batch_size)


class PadsLastBatch(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        whole = -(-len(order) // batch_size) * batch_size
        return super().train_epoch(data, np.resize(order, whole), batch_size)


class IgnoresOrder(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        return super().train_epoch(data, np.arange(len(order)), batch_size)


class ForgetsToUpdateLast(ExampleNetwork):
    """Has a train_epoch of its own, whose last update is missing."""

    def train_epoch(self, data, order, batch_size):
        losses: list[float] = []
        for index in minibatches(order, batch_size):
            if losses:
                self.update()
            batch = self.batch(data, index)
            self.feedforward(batch)
            losses.append(self.backprop(batch))
        return self.losses_to_host(losses)


class ShufflesAgain(ExampleNetwork):
    """Draws an order of its own in train_epoch, another one in each call of the process."""

    rng = np.random.default_rng(1)

    def train_epoch(self, data, order, batch_size):
        return super().train_epoch(data, self.rng.permutation(order), batch_size)


class ShufflesAlike(ExampleNetwork):
    """Draws an order of its own in train_epoch, from one seed."""

    def train_epoch(self, data, order, batch_size):
        shuffled = np.random.default_rng(7).permutation(order)
        return super().train_epoch(data, shuffled, batch_size)


class ReportsLossAfter(ExampleNetwork):
    """Evaluates the loss of a batch when the parameters have moved."""

    def train_epoch(self, data, order, batch_size):
        losses = []
        for index in minibatches(order, batch_size):
            batch = self.batch(data, index)
            self.step(batch)
            self.feedforward(batch)
            losses.append(self.backprop(batch))
        return self.losses_to_host(losses)


class ReturnsNothing(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        super().train_epoch(data, order, batch_size)


class ReturnsMean(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        return super().train_epoch(data, order, batch_size).mean()


class ReturnsList(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        return super().train_epoch(data, order, batch_size).tolist()


class ReturnsColumn(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        return super().train_epoch(data, order, batch_size)[:, None]


class ReportsMeans(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        losses = super().train_epoch(data, order, batch_size)
        return (np.cumsum(losses) / np.arange(1, len(losses) + 1)).astype(np.float32)


class RestartsEveryEpoch(ExampleNetwork):
    def train_epoch(self, data, order, batch_size):
        self.load(self.layers)
        return super().train_epoch(data, order, batch_size)


class DrawsNumbers(ExampleNetwork):
    def backprop(self, batch):
        loss = super().backprop(batch)
        self.kept = scale(self.kept, np.float32(1 + 1e-5 * np.random.default_rng().random()))
        return loss


# --- copies


class AliasesDump(ExampleNetwork):
    def dump(self):
        return list(self.layers)


class AliasesLoad(ExampleNetwork):
    def load(self, layers):
        super().load(layers)
        self.layers = list(layers)
        self.optimizer = make_optimizer(self.spec.optimizer, flatten(self.layers))


class ChangesExamples(ExampleNetwork):
    def place(self, examples):
        np.maximum(examples.inputs, 0.1, out=examples.inputs)
        return examples


class AliasesGradients(ExampleNetwork):
    def backprop(self, batch):
        buffers = list(self.kept)
        loss = super().backprop(batch)
        for mine, new in zip(flatten(buffers), flatten(self.kept), strict=True):
            mine[...] = new
        self.kept = buffers
        return loss

    def gradients(self):
        return list(self.kept)


# --- isolation and resources


class SharesParameters(ExampleNetwork):
    """Keeps the layers in the class, so that the network that was loaded last has them."""

    shared: ClassVar[list[Layer]] = []

    def load(self, layers):
        super().load(layers)
        type(self).shared = self.layers

    def feedforward(self, batch):
        self.layers = type(self).shared
        return super().feedforward(batch)


class BelongsToThread(ExampleNetwork):
    def __init__(self, spec):
        super().__init__(spec)
        self.own = threading.local()

    def load(self, layers):
        super().load(layers)
        self.own.trains = True

    def update(self):
        if getattr(self.own, "trains", False):
            super().update()


class DependsOnHash(ExampleNetwork):
    """Has other parameters in each process, as hashes of strings are drawn at random."""

    def load(self, layers):
        super().load(layers)
        self.layers[0].weight[0, 0] += np.float32(hash("nnbench") % 1000 * 1e-5 * self.is_child)

    is_child = "spawn_main" in " ".join(sys.orig_argv)


class LeaksMemory(ExampleNetwork):
    def backprop(self, batch):
        self.history = [
            *getattr(self, "history", []),
            batch.inputs.copy(),
            [layer.copy() for layer in self.kept],
        ]
        return super().backprop(batch)


class Pretended(SimpleNamespace):
    """A GPU that is made up: as much of pynvml as is asked when memory must not grow."""

    NVMLError = RuntimeError
    used = 0

    def nvmlInit(self):  # noqa: N802 - as NVML has it
        pass

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802 - as NVML has it
        return index

    def nvmlDeviceGetMemoryInfo(self, _):  # noqa: N802 - as NVML has it
        return self


class LeaksOnDevice(ExampleNetwork):
    """Leaves the inputs of each step on a GPU, and as much that was made of them."""

    gpu = Pretended()

    def __init__(self, spec):
        super().__init__(spec)
        sys.modules["pynvml"] = cast("ModuleType", self.gpu)

    def backprop(self, batch):
        self.gpu.used += 2 * batch.inputs.nbytes
        return super().backprop(batch)


class ReturnsEarly(ExampleNetwork):
    """Trains in a thread of its own, for which synchronize does not wait."""

    def train_epoch(self, data, order, batch_size):
        losses = np.zeros(-(-len(order) // batch_size), np.float32)
        before, self.running = getattr(self, "running", None), threading.Event()

        def work(done):
            if before:
                before.wait()
            time.sleep(0.02)
            losses[:] = ExampleNetwork.train_epoch(self, data, order, batch_size)
            done.set()

        threading.Thread(target=work, args=(self.running,)).start()
        return losses


class WaitsInDump(ReturnsEarly):
    """Waits for the thread where the parameters are wanted, as a device does."""

    def train_epoch(self, data, order, batch_size):
        super().train_epoch(data, order, batch_size)
        return np.zeros(-(-len(order) // batch_size), np.float32)

    def dump(self):
        if running := getattr(self, "running", None):
            running.wait()
        return super().dump()


class TimesItself(ExampleNetwork):
    def device_seconds(self):
        return 1e-6


class CompilesAnew(ExampleNetwork):
    compiled = 0

    def train_epoch(self, data, order, batch_size):
        self.compiled += 1
        return super().train_epoch(data, order, batch_size)

    def compilations(self):
        return self.compiled


class TurnsNan(ExampleNetwork):
    def update(self):
        super().update()
        self.layers[0].weight[0, 0] = np.nan


class Crashes(ExampleNetwork):
    def update(self):
        ctypes.string_at(0)


class Hangs(ExampleNetwork):
    def update(self):
        time.sleep(600)


class Raises(ExampleNetwork):
    def update(self):
        raise ValueError("no update\ntoday")


class CompilesFresh(ExampleNetwork):
    """Makes its optimizer anew in each step of adam-fresh."""

    compiled = 0

    def update(self):
        if self.spec.optimizer.kind == "adam-fresh":
            self.compiled += 1
        super().update()

    def compilations(self):
        return self.compiled


class HalvesBiases(ExampleNetwork):
    """Halves the gradients of the biases, with squared error alone."""

    def backprop(self, batch):
        loss = super().backprop(batch)
        if self.spec.loss == "squared_error" and self.spec.bias:
            self.kept = [Layer(w, b / 2) for w, b in self.kept]
        return loss


class DecaysTwice(ExampleNetwork):
    """Adds the L2 term's gradient twice, with Adam alone."""

    def backprop(self, batch):
        loss = super().backprop(batch)
        if self.spec.optimizer.kind == "adam":
            l2 = np.float32(self.spec.l2)
            pairs = zip(self.kept, self.layers, strict=True)
            self.kept = [Layer(g + l2 * w, h) for (g, h), (w, _) in pairs]
        return loss


class OneAtATime(ExampleNetwork):
    """No mistake: it trains on single examples."""

    def batch(self, data, index):
        assert len(index) == 1
        return super().batch(data, index)


class KnowsOneLoss(ExampleNetwork):
    """No mistake: it says what it does not support, but not before it is made."""

    def __init__(self, spec):
        if spec.loss == "squared_error":
            raise BackendUnavailableError("the library has no squared error")
        super().__init__(spec)


def create_never(_):
    raise BackendUnavailableError("the library finds no device")


def create_nothing(spec):
    ExampleNetwork(spec)


def create_badly(spec):
    raise RuntimeError(f"no compiler for {spec.sizes[0]} inputs")


NETWORKS: dict[str, Callable[..., Network[Any, Any]]] = {
    "honest": ExampleNetwork,
    "flips-sign": FlipsSign,
    "forgets-mean": ForgetsMean,
    "sums-losses": SumsLosses,
    "masks-wrong-layer": MasksWrongLayer,
    "forgets-slope": ForgetsSlope,
    "mislabels-by-one": MislabelsByOne,
    "decays-biases": DecaysBiases,
    "softmaxes-twice": SoftmaxesTwice,
    "computes-in-half": ComputesInHalf,
    "adds-gradients": AddsGradients,
    "shares-loss": SharesLoss,
    "transposes": Transposes,
    "dumps-double": DumpsDouble,
    "skips-correction": SkipsCorrection,
    "puts-epsilon-inside": PutsEpsilonInside,
    "restarts-adam": RestartsAdam,
    "corrects-moments": CorrectsMoments,
    "scales-moments": ScalesMoments,
    "swaps-moments": SwapsMoments,
    "roots-second-moment": RootsSecondMoment,
    "gives-gradients": GivesGradients,
    "counts-from-one": CountsFromOne,
    "counts-epochs": CountsEpochs,
    "transposes-moments": TransposesMoments,
    "gives-one-buffer": GivesOneBuffer,
    "keeps-moments-of-sgd": KeepsMomentsOfSgd,
    "aliases-moments": AliasesMoments,
    "shares-moments": SharesMoments,
    "forgets-when-asked": ForgetsWhenAsked,
    "holds-one-epoch": HoldsOneEpoch,
    "skips-biases": SkipsBiases,
    "never-updates": NeverUpdates,
    "keeps-state": KeepsState,
    "uses-stale-gradients": UsesStaleGradients,
    "uses-gradients-once": UsesGradientsOnce,
    "drops-last-batch": DropsLastBatch,
    "pads-last-batch": PadsLastBatch,
    "ignores-order": IgnoresOrder,
    "forgets-to-update-last": ForgetsToUpdateLast,
    "reports-means": ReportsMeans,
    "restarts-every-epoch": RestartsEveryEpoch,
    "draws-numbers": DrawsNumbers,
    "aliases-dump": AliasesDump,
    "aliases-load": AliasesLoad,
    "changes-examples": ChangesExamples,
    "aliases-gradients": AliasesGradients,
    "shares-parameters": SharesParameters,
    "belongs-to-thread": BelongsToThread,
    "depends-on-hash": DependsOnHash,
    "leaks-memory": LeaksMemory,
    "leaks-on-device": LeaksOnDevice,
    "returns-early": ReturnsEarly,
    "waits-in-dump": WaitsInDump,
    "times-itself": TimesItself,
    "compiles-anew": CompilesAnew,
    "turns-nan": TurnsNan,
    "raises": Raises,
    "predicts-classes": PredictsClasses,
    "predicts-one-hot": PredictsOneHot,
    "predicts-probabilities": PredictsProbabilities,
    "predicts-logarithms": PredictsLogarithms,
    "feeds-nothing": FeedsNothing,
    "dumps-nothing": DumpsNothing,
    "gives-no-gradients": GivesNoGradients,
    "backprops-nothing": BackpropsNothing,
    "ignores-initial": IgnoresInitial,
    "keeps-half": KeepsHalf,
    "loads-transposed": LoadsTransposed,
    "uses-transposed": UsesTransposed,
    "drops-out": DropsOut,
    "divides-twice": DividesTwice,
    "averages-twice": AveragesTwice,
    "forgets-to-transpose": ForgetsToTranspose,
    "has-momentum": HasMomentum,
    "multiplies-rate": MultipliesRate,
    "ignores-rate": IgnoresRate,
    "shuffles-again": ShufflesAgain,
    "shuffles-alike": ShufflesAlike,
    "reports-loss-after": ReportsLossAfter,
    "returns-nothing": ReturnsNothing,
    "returns-mean": ReturnsMean,
    "returns-list": ReturnsList,
    "returns-column": ReturnsColumn,
    "compiles-fresh": CompilesFresh,
    "adds-epsilon-early": AddsEpsilonEarly,
    "flips-sign-too": FlipsSignToo,
    "halves-biases": HalvesBiases,
    "decays-twice": DecaysTwice,
    "knows-one-network": ExampleNetwork,
    "trains-one-at-a-time": OneAtATime,
    "trains-trees": ExampleNetwork,
    "misreads-supports": ExampleNetwork,
    "creates-nothing": create_nothing,
    "creates-badly": create_badly,
    "crashes": Crashes,
    "hangs": Hangs,
    "knows-one-loss": KnowsOneLoss,
    "unavailable-in-create": create_never,
}


def known(activation="relu", loss="cross_entropy", bias=True, l2=False, kind="adam"):
    """Return a ``supports`` that knows these choices; None is any."""
    wanted = (activation, loss, bias, l2, kind)

    def supports(spec, _):
        own = (spec.activation, spec.loss, spec.bias, bool(spec.l2), spec.optimizer.kind)
        pairs = zip(wanted, own, strict=True)
        return None if all(w in (None, o) for w, o in pairs) else "it is made for other networks"

    return supports


def one_at_a_time(_, batch_size):
    return None if batch_size == 1 else f"it trains one example at a time, not {batch_size}"


def no_networks(*_):
    return "it trains trees"


def misread(*_):
    return True  # "yes, it does"


def epsilon(spec):
    return "it adds epsilon before the bias correction" if spec.optimizer.kind == "adam" else None


#: Networks cost time, so a mistake is made on one that shows it, but for these.
SUPPORTED = {
    **dict.fromkeys(("honest", "flips-sign", "crashes", "hangs", "knows-one-loss")),
    **dict.fromkeys(("creates-nothing", "creates-badly", "unavailable-in-create")),
    **dict.fromkeys(("adds-epsilon-early", "flips-sign-too")),
    "decays-biases": known(l2=True),
    "keeps-moments-of-sgd": known(kind="sgd"),
    "has-momentum": known(kind="sgd"),
    "compiles-fresh": known(kind="adam-fresh"),
    # sets of support that have one network in common with the six of a backend that supports all
    "halves-biases": known(loss=None, kind=None),
    "decays-twice": known(l2=None, kind=None),
    "knows-one-network": known(kind="sgd"),
    "trains-one-at-a-time": one_at_a_time,
    "trains-trees": no_networks,
    "misreads-supports": misread,
}
OTHER_OPTIMIZERS = dict.fromkeys(("adds-epsilon-early", "flips-sign-too"), epsilon)


def declared(name):
    """Return what a backend says of the networks that it trains."""
    fields = {"supports": SUPPORTED.get(name, known())}
    fields["other_optimizer"] = OTHER_OPTIMIZERS.get(name)
    fields["device"] = "cuda" if name == "leaks-on-device" else None
    return {field: value for field, value in fields.items() if value}


@hookimpl
def nnbench_backends():
    return [
        Backend(name=name, summary="broken", create=create, **declared(name))
        for name, create in NETWORKS.items()
    ]
