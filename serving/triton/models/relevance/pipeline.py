"""Requests through a GPU in three steps at a time: the next batch is prepared while one runs and one is answered.

    execute (Triton's thread)   reads the requests of a batch, prepares them together, hands them on
    launching                   starts their work on the GPU and does not wait for it; tries them alone where that fails
    answering                   waits for the GPU and sends each request its part

A batch that finds nothing under way is started by `execute` itself: waking a thread takes time.

So the GPU has the next batch's work before it ends this one's. A full queue holds `execute` back, and meanwhile
Triton's dynamic batcher gathers a larger batch.

Runs in Triton's own Python, with torch.
"""

import gc
import json
import os
import queue
import sys
import threading

# Before torch: its compiler then works in this process, and starts no workers from a Python that is inside a server.
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import numpy as np
import torch
import triton_python_backend_utils as pb_utils

# Batches that wait between two steps. One keeps the GPU busy; a second only adds to every answer's time.
DEPTH = 1
# A thread in the middle of Python's own work lets another one go on after this long. With the usual 5 ms, launching,
# which needs Python for microseconds at a time, would wait for the next batch's texts.
SWITCH_S = 2e-4


class PipelinedModel:
    """Base of the models on packs.

    A subclass says how a request is read (`read`), how several are prepared together (`prepare`), how their work is
    started (`run`), and what each one's part of the result is (`parts`).
    """

    def start(self):
        """Start the threads; the model is ready."""
        sys.setswitchinterval(SWITCH_S)
        # What is loaded stays: the garbage collector, which stops every thread, need not walk through it again.
        gc.collect()
        gc.freeze()
        self.ready, self.running = queue.Queue(DEPTH), queue.Queue(DEPTH)
        self.threads = [threading.Thread(target=work, daemon=True) for work in (self._launching, self._answering)]
        for thread in self.threads:
            thread.start()

    def finalize(self):
        """Answer what is under way, then end the threads."""
        self.ready.put(None)
        for thread in self.threads:
            thread.join()

    def execute(self, requests):
        """Hand the requests on; answers are sent later. One that cannot be read gets its own error at once."""
        senders, inputs = [], []
        for request in requests:
            sender = request.get_response_sender()
            try:
                inputs.append(self.read(request))
            except Exception as error:  # noqa: BLE001  whatever went wrong concerns this request alone
                self._refuse(sender, error)
            else:
                senders.append(sender)
        if not senders:
            return
        try:
            prepared = self.prepare(inputs)
        except Exception:  # noqa: BLE001  it is tried again, for each request alone, where they would be started
            prepared = None
        if self.ready.unfinished_tasks or self.running.unfinished_tasks:
            self.ready.put((senders, inputs, prepared))
        else:
            self._launch(senders, inputs, prepared)

    @torch.inference_mode()
    def _launching(self):
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        while (batch := self.ready.get()) is not None:
            self._launch(*batch)
            self.ready.task_done()
        self.running.put(None)

    def _launch(self, senders, inputs, prepared):
        """Start a batch; where that fails, each of its requests alone: one of them may be at fault."""
        try:
            prepared = self.prepare(inputs) if prepared is None else prepared
            host, event = to_host(self.run(prepared))
        except Exception as error:  # noqa: BLE001  the thread must go on
            if len(senders) == 1:
                self._refuse(senders[0], error)
                return
            for sender, own in zip(senders, inputs, strict=True):
                self._launch([sender], [own], None)
        else:
            self.running.put((senders, prepared, host, event))

    def _answering(self):
        while (batch := self.running.get()) is not None:
            self._answer(*batch)
            self.running.task_done()

    def _answer(self, senders, prepared, host, event):
        """Wait for the GPU and send each request its part."""
        try:
            if event is not None:
                event.synchronize()
            parts = self.parts(prepared, host.numpy())
        except Exception as error:  # noqa: BLE001  these requests fail; the thread must go on
            for sender in senders:
                self._refuse(sender, error)
            return
        for sender, part in zip(senders, parts, strict=True):
            tensors = [pb_utils.Tensor(name, values) for name, values in part.items()]
            self._send(sender, pb_utils.InferenceResponse(tensors))

    def _refuse(self, sender, error):
        message = f"{self.name}: {error or type(error).__name__}"
        self._send(sender, pb_utils.InferenceResponse(error=pb_utils.TritonError(message)))

    def _send(self, sender, response):
        try:
            sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        except Exception as error:  # noqa: BLE001  a caller that has gone must not end the thread
            pb_utils.Logger.log_warn(f"{self.name}: an answer was not sent: {error}")


def to_host(values):
    """(the tensor in the host's memory, the event after which it is filled); no event where it is there already."""
    if not values.is_cuda:
        return values, None
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    host.copy_(values, non_blocking=True)
    event = torch.cuda.Event()
    event.record()
    return host, event


def settings(args):
    """(string parameters of the configuration, tokens per pack, the instance's device)."""
    parameters = {name: value["string_value"] for name, value in json.loads(args["model_config"])["parameters"].items()}
    sizes = tuple(int(size) for size in parameters["pack_sizes"].split(","))
    on_gpu = args["model_instance_kind"] == "GPU"
    device = torch.device(f"cuda:{args['model_instance_device_id']}" if on_gpu else "cpu")
    if on_gpu:
        torch.cuda.set_device(device)
    # What is left to the CPU is small: more threads would wait for each other longer than they work.
    torch.set_num_threads(1)
    return parameters, sizes, device


def cuts(counts):
    """Where each list but the first begins, in all of them end to end."""
    return np.cumsum(counts)[:-1]


def array(request, name):
    """An input as it was sent, in one dimension."""
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy().ravel()
