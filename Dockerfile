# A bundle served over HTTP:
#   docker build --tag jointrain-serve .
#   docker run --publish 127.0.0.1:8000:8000 --env JOINTRAIN_TOKEN --volume "$PWD/model:/model:ro" jointrain-serve
FROM python:3.12-slim

# the wheel of torch without GPUs is a tenth of the other
COPY . /source
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu "/source[serve]" \
    && rm -rf /source

USER 65534:65534
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=2)"]
# exec form: SIGTERM reaches the server, which answers what is asked before it ends
ENTRYPOINT ["jointrain", "serve", "/model", "--host", "0.0.0.0", "--port", "8000"]
