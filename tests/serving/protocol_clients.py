"""Asks a service with Triton's clients, or KServe's, as requests on stdin say, and prints the answers as JSON.

A program of its own, as the two clients cannot be imported in one process.
Usage: protocol_clients.py triton|kserve HTTP_HOST:PORT GRPC_HOST:PORT; a request is {client: http|grpc, model,
inputs: {name: [text]}, outputs: [name], options: {of the client's infer}}.
"""

import asyncio
import json
import sys

import numpy as np


def triton(addresses, requests):
    import tritonclient.grpc
    import tritonclient.http
    from tritonclient.utils import InferenceServerException

    modules = {"http": tritonclient.http, "grpc": tritonclient.grpc}
    clients = {name: modules[name].InferenceServerClient(addresses[name]) for name in modules}

    def ask(request):
        module = modules[request["client"]]
        inputs = []
        for name, values in request["inputs"].items():
            array = np.array([value.encode() for value in values], dtype=object)
            tensor = module.InferInput(name, list(array.shape), "BYTES")
            tensor.set_data_from_numpy(array)
            inputs.append(tensor)
        outputs = [module.InferRequestedOutput(name) for name in request.get("outputs", [])] or None
        try:
            answer = clients[request["client"]].infer(
                request["model"], inputs, outputs=outputs, **request.get("options", {})
            )
        except InferenceServerException as error:
            return {"status": error.status(), "message": error.message()}
        response = answer.get_response()
        if not isinstance(response, dict):
            response = {
                "model_version": response.model_version,
                "id": response.id,
                "outputs": [{"name": output.name} for output in response.outputs],
            }
        return response

    version = requests[0]["options"]["model_version"]
    described = {}
    for name, client in clients.items():
        as_json = {"as_json": True} if name == "grpc" else {}
        described[name] = {
            "server": client.get_server_metadata(**as_json),
            "model": client.get_model_metadata("search", version, **as_json),
            "ready": client.is_model_ready("search", version),
        }
        for what, call in {"metadata": client.get_model_metadata, "ready": client.is_model_ready}.items():
            try:
                described[name][f"{what} of another version"] = str(call("search", "1"))
            except InferenceServerException as error:
                described[name][f"{what} of another version"] = error.status()
    return {"described": described, "answers": [ask(request) for request in requests]}


def kserve(addresses, requests):
    from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

    async def ask(request):
        inputs = []
        for name, values in request["inputs"].items():
            array = np.array([value.encode() for value in values], dtype=object)
            tensor = InferInput(name, list(array.shape), "BYTES")
            tensor.set_data_from_numpy(array, binary_data=request.get("binary", True))
            inputs.append(tensor)
        asked = InferRequest(request["model"], inputs, request_id="kserve")
        if request["client"] == "http":
            client = InferenceRESTClient(RESTConfig(protocol="v2"))
            answer = await client.infer(f"http://{addresses['http']}", asked, model_name=request["model"])
        else:
            answer = await InferenceGRPCClient(addresses["grpc"]).infer(asked)
        return {
            "id": answer.id,
            "model_version": answer.model_version,
            "outputs": [{"name": output.name, "data": output.as_numpy().ravel().tolist()} for output in answer.outputs],
        }

    async def ask_all():
        return [await ask(request) for request in requests]

    return {"answers": asyncio.run(ask_all())}


def main():
    which, http, grpc = sys.argv[1:]
    answered = {"triton": triton, "kserve": kserve}[which]({"http": http, "grpc": grpc}, json.load(sys.stdin))
    json.dump(answered, sys.stdout, default=lambda value: value.decode())


if __name__ == "__main__":
    main()
