"""In the manner of the transfer learning tutorial; train, val and test share no patient."""

import copy
import os

import torch
import torch.nn as nn
import torch.optim as optim
from sklearn.metrics import confusion_matrix, roc_auc_score
from torch.optim import lr_scheduler
from torchvision import datasets, models, transforms

torch.manual_seed(0)
normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
data_transforms = {
    "train": transforms.Compose(
        [
            transforms.Resize(256),
            transforms.RandomAffine(degrees=5, translate=(0.02, 0.02)),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            normalize,
        ]
    ),
    "val": transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normalize]
    ),
}
data_dir = "data/by_patient"
image_datasets = {
    x: datasets.ImageFolder(os.path.join(data_dir, x), data_transforms[x]) for x in ["train", "val"]
}
dataloaders = {
    x: torch.utils.data.DataLoader(image_datasets[x], batch_size=16, shuffle=x == "train")
    for x in ["train", "val"]
}
dataset_sizes = {x: len(image_datasets[x]) for x in ["train", "val"]}
device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")


def train_model(model, criterion, optimizer, scheduler, num_epochs=25):
    best_model_wts = copy.deepcopy(model.state_dict())
    best_loss = float("inf")
    for epoch in range(num_epochs):
        for phase in ["train", "val"]:
            if phase == "train":
                model.train()
            else:
                model.eval()
            running_loss = 0.0
            for inputs, labels in dataloaders[phase]:
                inputs, labels = inputs.to(device), labels.to(device)
                optimizer.zero_grad()
                with torch.set_grad_enabled(phase == "train"):
                    loss = criterion(model(inputs), labels)
                    if phase == "train":
                        loss.backward()
                        optimizer.step()
                running_loss += loss.item() * inputs.size(0)
            if phase == "train":
                scheduler.step()
            epoch_loss = running_loss / dataset_sizes[phase]
            print(f"{epoch} {phase} loss {epoch_loss:.4f}")
            if phase == "val" and epoch_loss < best_loss:
                best_loss = epoch_loss
                best_model_wts = copy.deepcopy(model.state_dict())
    model.load_state_dict(best_model_wts)
    return model


model_ft = models.resnet50(weights="IMAGENET1K_V2")
model_ft.fc = nn.Linear(model_ft.fc.in_features, 2)
model_ft = model_ft.to(device)
optimizer_ft = optim.SGD(model_ft.parameters(), lr=0.001, momentum=0.9)
scheduler = lr_scheduler.StepLR(optimizer_ft, step_size=7, gamma=0.1)
model_ft = train_model(model_ft, nn.CrossEntropyLoss(), optimizer_ft, scheduler)
torch.save(model_ft.state_dict(), "best.pt")

test_set = datasets.ImageFolder(os.path.join(data_dir, "test"), data_transforms["val"])
test_loader = torch.utils.data.DataLoader(test_set, batch_size=16)
model_ft.eval()
y_true, y_score = [], []
with torch.no_grad():
    for inputs, labels in test_loader:
        y_score += model_ft(inputs.to(device)).softmax(1)[:, 1].tolist()
        y_true += labels.tolist()
y_pred = [score > 0.5 for score in y_score]
print(roc_auc_score(y_true, y_score), confusion_matrix(y_true, y_pred))
