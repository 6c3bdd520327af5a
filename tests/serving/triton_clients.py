"""Calls a service with Triton's own clients and prints what came back as JSON.

A program of its own: tritonclient.grpc and KServe register the same protobuf symbols, so one process holds one of them.
Usage: triton_clients.py HTTP_HOST:PORT GRPC_HOST:PORT, requests as JSON on stdin: {model, inputs: {name: [text]}}.
"""

import json
import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException


def tensors(module, inputs):
    made = []
    for name, values in inputs.items():
        # Surrogate escapes carry bytes that are no UTF-8 through JSON.
        array = np.array([value.encode("utf-8", "surrogateescape") for value in values], dtype=object)
        tensor = module.InferInput(name, list(array.shape), "BYTES")
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def ask(module, client, request):
    try:
        result = client.infer(request["model"], tensors(module, request["inputs"]))
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    response = result.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    names = [output["name"] if isinstance(output, dict) else output.name for output in outputs]
    arrays = {name: result.as_numpy(name) for name in names}
    return {
        "dtypes": {name: array.dtype.str for name, array in arrays.items()},
        "outputs": {
            name: [value.decode() for value in array] if array.dtype == object else array.tolist()
            for name, array in arrays.items()
        },
    }


def main():
    http = tritonclient.http.InferenceServerClient(sys.argv[1])
    grpc = tritonclient.grpc.InferenceServerClient(sys.argv[2])
    requests = json.load(sys.stdin)
    answers = {
        "live": [http.is_server_live(), grpc.is_server_live()],
        "ready": [http.is_server_ready(), grpc.is_server_ready()],
        "metadata": http.get_model_metadata(requests[0]["model"]),
        "http": [ask(tritonclient.http, http, request) for request in requests],
        "grpc": [ask(tritonclient.grpc, grpc, request) for request in requests],
    }
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
