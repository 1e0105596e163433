"""The least that any Hydra application costs: it composes the config that `smtrain plan` composes, and does nothing."""

import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(version_base="1.3", config_path="pkg://smtrain_conf", config_name="config")
def main(config: DictConfig) -> None:
    OmegaConf.to_container(config, resolve=True)


if __name__ == "__main__":
    main()
