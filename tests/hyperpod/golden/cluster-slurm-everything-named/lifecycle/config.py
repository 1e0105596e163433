class Config:
    enable_docker_enroot_pyxis = True
